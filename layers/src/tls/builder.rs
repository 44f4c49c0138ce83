//! Builds a [`TlsLayer`] from PEM.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio_rustls::rustls::{KeyLog, time_provider::TimeProvider};

use super::{
    ClientAuth, HandshakeLimits, IdentityRules, TicketKeys, TlsConfigError, TlsLayer, TlsReloader,
    TlsVersion,
    active_config::ActiveConfig,
    layer::HANDSHAKE_TIMEOUT,
    pem::Pem,
    settings::{CertificatePem, Resumption, TlsSettings},
};

/// Builds a [`TlsLayer`]; see [`TlsLayer::builder`]. Files are read by [`TlsBuilder::build`].
///
/// ```
/// use std::time::Duration;
/// use portcullis_layers::tls::{ClientAuth, ClientRoots, TlsLayer, TlsVersion};
///
/// # let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let (cert_pem, key_pem, ca_pem) = (pair.cert.pem(), pair.signing_key.serialize_pem(), pair.cert.pem());
/// let tls = TlsLayer::builder()
///     .certificate_pem(cert_pem, key_pem)
///     .client_auth(ClientAuth::Required(ClientRoots::from_pem(ca_pem)))
///     .min_version(TlsVersion::V1_3)
///     .alpn(["h2", "http/1.1"])
///     .handshake_timeout(Duration::from_secs(5))
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is read before `build`"]
pub struct TlsBuilder {
    settings: TlsSettings,
    handshake_timeout: Duration,
    handshake_limits: Option<HandshakeLimits>,
    end_revoked: bool,
}

impl TlsLayer {
    /// TLS 1.2 and 1.3 with the certificate and private key of two PEM files, and the defaults of
    /// [`TlsBuilder`]: no client certificates, no ALPN, 10 seconds for a handshake. It has no
    /// reloader; see [`TlsBuilder::build_reloadable`].
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] names the file that is invalid; its hint describes what to do.
    pub fn from_pem_files(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsConfigError> {
        Self::builder().certificate_files(certificate, key).build()
    }

    /// Configures the layer step by step.
    pub const fn builder() -> TlsBuilder {
        TlsBuilder::new()
    }
}

impl TlsBuilder {
    pub(super) const fn new() -> Self {
        Self {
            settings: TlsSettings {
                certificate: None,
                named: Vec::new(),
                strict_sni: false,
                client_auth: ClientAuth::Off,
                rules: None,
                min_version: TlsVersion::V1_2,
                ciphers: None,
                groups: None,
                alpn: Vec::new(),
                alpn_required: false,
                resumption: Resumption::Own,
                key_log: None,
                clock: None,
            },
            handshake_timeout: HANDSHAKE_TIMEOUT,
            handshake_limits: None,
            end_revoked: false,
        }
    }

    /// The server's certificate and its private key, from PEM files.
    ///
    /// The first file contains the server's own certificate, then those of its issuers as far as
    /// clients need them. The second one contains the private key as PKCS#8, PKCS#1 or SEC1,
    /// without a password. Both may be the same file. Replaces a certificate that was set before.
    /// It is sent to every client that requests no server name, or one without a certificate of its
    /// own.
    pub fn certificate_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let (chain, key) = (Pem::File(certificate.into()), Pem::File(key.into()));
        self.settings.certificate = Some(CertificatePem { chain, key });
        self
    }

    /// As [`TlsBuilder::certificate_files`], from PEM texts.
    pub fn certificate_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        let (chain, key) = (Pem::Bytes(certificate.into()), Pem::Bytes(key.into()));
        self.settings.certificate = Some(CertificatePem { chain, key });
        self
    }

    /// A certificate for clients that request this server name (SNI, RFC 6066, 3): `example.org`,
    /// or `*.example.org` for all names with exactly one more label. Names are case-insensitive. An
    /// exact name takes precedence over a wildcard. May be called for many names.
    ///
    /// A client that requests no name, an IP address or another name gets the certificate of
    /// [`certificate_files`](Self::certificate_files). If there is none, it is rejected as by
    /// [`strict_sni`](Self::strict_sni). The client verifies whether the certificate is valid for
    /// the name. A session is resumed only with the name that it was created with.
    pub fn sni_certificate_files(
        mut self,
        name: impl Into<String>,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        let (chain, key) = (Pem::File(certificate.into()), Pem::File(key.into()));
        self.settings.named.push((name.into(), CertificatePem { chain, key }));
        self
    }

    /// As [`sni_certificate_files`](Self::sni_certificate_files), from PEM texts.
    pub fn sni_certificate_pem(
        mut self,
        name: impl Into<String>,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        let (chain, key) = (Pem::Bytes(certificate.into()), Pem::Bytes(key.into()));
        self.settings.named.push((name.into(), CertificatePem { chain, key }));
        self
    }

    /// Whether to reject clients that request no server name, or one without a certificate of its
    /// own: their handshake fails (`sni`) with the alert unrecognized_name. By default they get the
    /// certificate of [`certificate_files`](Self::certificate_files), if there is one.
    pub fn strict_sni(mut self, strict: bool) -> Self {
        self.settings.strict_sni = strict;
        self
    }

    /// Whether client certificates are requested. Off by default.
    pub fn client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.settings.client_auth = client_auth;
        self
    }

    /// Which clients with a valid certificate are allowed. By default all.
    ///
    /// The handshake of a client that does not satisfy the rules fails (`identity_denied`), even if
    /// certificates are optional. The rules do not apply to a client without a certificate.
    ///
    /// ```
    /// use portcullis_layers::tls::{ClientAuth, ClientRoots, IdentityRules, TlsLayer};
    ///
    /// # let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// # let (cert_pem, key_pem, ca_pem) = (pair.cert.pem(), pair.signing_key.serialize_pem(), pair.cert.pem());
    /// let tls = TlsLayer::builder()
    ///     .certificate_pem(cert_pem, key_pem)
    ///     .client_auth(ClientAuth::Required(ClientRoots::from_pem(ca_pem)))
    ///     .allow_identities(IdentityRules::any(["uri=spiffe://example.org/billing".parse()?]))
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow_identities(mut self, rules: IdentityRules) -> Self {
        self.settings.rules = Some(rules);
        self
    }

    /// Whether a reload that changes CAs or CRLs closes the open connections (`revoked`) of clients
    /// that are no longer allowed. By default they stay open. Without a
    /// [reloader](Self::build_reloadable) it has no effect.
    ///
    /// After such a reload, the client certificate of every open connection is verified again, in
    /// the task of the connection. If the stream was moved out of its service, this happens at the
    /// next read or write, or immediately if a task waits in one.
    pub fn end_revoked(mut self, end: bool) -> Self {
        self.end_revoked = end;
        self
    }

    /// The cipher suites, by their IANA names or as in
    /// [`TlsInfo::cipher_suite`](crate::TlsInfo::cipher_suite), the preferred one first; the order
    /// of the client is ignored. By default the suites of rustls in its order.
    ///
    /// Each enabled version needs at least one: see [`min_version`](Self::min_version).
    pub fn cipher_suites<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.settings.ciphers = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The key exchange groups, by name, such as `X25519MLKEM768` (post-quantum, with aws-lc-rs)
    /// and `X25519`. By default those of rustls: `X25519`, `secp256r1`, `secp384r1`, and with
    /// aws-lc-rs `X25519MLKEM768`.
    ///
    /// The order of the client decides: a client that prefers `X25519MLKEM768` uses it.
    pub fn key_exchange_groups<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.settings.groups = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Encrypts session tickets with these keys, which other processes can share. By default the
    /// layer creates its own keys.
    pub fn ticket_keys(mut self, keys: TicketKeys) -> Self {
        self.settings.resumption = Resumption::With(keys);
        self
    }

    /// Disables session resumption: every client makes a full handshake. By default sessions can be
    /// resumed for 6 hours.
    pub fn no_resumption(mut self) -> Self {
        self.settings.resumption = Resumption::Off;
        self
    }

    /// Writes the secrets of every session to this key log, with which all traffic can be
    /// decrypted. For debugging. Never enabled by default or by the environment.
    /// [`rustls::KeyLogFile`](super::rustls::KeyLogFile) writes them to the file that
    /// `SSLKEYLOGFILE` names.
    pub fn key_log(mut self, log: Arc<dyn KeyLog>) -> Self {
        self.settings.key_log = Some(log);
        self
    }

    /// The clock that is used to verify certificates and the age of session tickets. By default the
    /// system clock; another one is for tests.
    pub fn time_provider(mut self, clock: Arc<dyn TimeProvider>) -> Self {
        self.settings.clock = Some(clock);
        self
    }

    /// The minimum TLS version. TLS 1.2 by default.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.settings.min_version = version;
        self
    }

    /// The application protocols (ALPN, RFC 7301), the preferred one first. None by default.
    ///
    /// The handshake of a client that offers only other protocols fails. A client that offers none
    /// is served, with `None` as [`TlsInfo::alpn`](crate::TlsInfo::alpn).
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.settings.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self
    }

    /// Whether a client must negotiate an application protocol. By default a client that offers
    /// none is served. Otherwise its handshake fails (`alpn`) with the alert
    /// no_application_protocol.
    pub fn require_alpn(mut self, required: bool) -> Self {
        self.settings.alpn_required = required;
        self
    }

    /// The limits on handshakes in progress. By default 4096 in total, and 256 of one peer.
    pub fn handshake_limits(mut self, limits: HandshakeLimits) -> Self {
        self.handshake_limits = Some(limits);
        self
    }

    /// The timeout of the whole handshake, from `call` to its last byte. 10 seconds by default.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Reads the files and builds the layer. They are not read again.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] names the file or setting that is invalid.
    pub fn build(self) -> Result<TlsLayer, TlsConfigError> {
        self.build_reloadable().map(|(layer, _)| layer)
    }

    /// As [`build`](Self::build), and also returns the handle that reloads the files.
    ///
    /// # Errors
    ///
    /// As for [`build`](Self::build).
    pub fn build_reloadable(self) -> Result<(TlsLayer, TlsReloader), TlsConfigError> {
        let keys = match &self.settings.resumption {
            Resumption::Own => Some(TicketKeys::generate()?),
            Resumption::With(keys) => Some(keys.clone()),
            Resumption::Off => None,
        };
        let active = Arc::new(ActiveConfig::new(self.settings.prepare(keys.as_ref())?));
        let layer = TlsLayer::new(active.clone(), self.handshake_limits.unwrap_or_default())
            .handshake_timeout(self.handshake_timeout)
            .end_revoked(self.end_revoked);
        Ok((layer, TlsReloader::new(active, self.settings, keys)))
    }
}
