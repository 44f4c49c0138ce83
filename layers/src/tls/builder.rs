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
    /// [`TlsConfigError`] says which file is wrong, and what to do.
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
    /// The first file has the server's own certificate first, then those of its issuers as far as
    /// clients need them. The second has the key, as PKCS#8, PKCS#1 or SEC1, without a password.
    /// Both may be one file. Replaces a certificate given before. It is shown to every client that
    /// asks for no server name, or for one that has no certificate of its own.
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

    /// A certificate for clients that ask for this server name (SNI, RFC 6066, 3): `example.org`,
    /// or `*.example.org` for all names with exactly one label more. Upper and lower case are the
    /// same. An exact name goes before a wildcard. May be called for many names.
    ///
    /// Who asks for no name, for an IP address or for another name is shown the certificate of
    /// [`certificate_files`](Self::certificate_files); where there is none, it is refused as by
    /// [`strict_sni`](Self::strict_sni). Whether the certificate holds the name is for the client
    /// to judge. A session is resumed only under the name that it was begun under.
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

    /// Whether clients are refused that ask for no server name, or for one that has no certificate
    /// of its own: their handshake fails (`sni`) with the alert unrecognized_name. By default they
    /// are shown the certificate of [`certificate_files`](Self::certificate_files), where there is
    /// one.
    pub fn strict_sni(mut self, strict: bool) -> Self {
        self.settings.strict_sni = strict;
        self
    }

    /// Whether clients are asked for a certificate. Off by default.
    pub fn client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.settings.client_auth = client_auth;
        self
    }

    /// Whom of those that a CA vouches for to let in. By default everybody.
    ///
    /// A client that does not satisfy the rules is refused in the handshake (`identity_denied`),
    /// also where a certificate is optional. One that gives none is not judged by them.
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

    /// Whether open connections are ended (`revoked`) whose client would not be let in any more
    /// after a reload that changed CAs or revocation lists. By default they go on. Without a
    /// [reloader](Self::build_reloadable) it has no effect.
    ///
    /// Every connection with a client certificate is then judged again after such a reload, in its
    /// own task; also one whose stream was moved out of its service, when it is read from or
    /// written to next, or at once if somebody waits in it.
    pub fn end_revoked(mut self, end: bool) -> Self {
        self.end_revoked = end;
        self
    }

    /// The cipher suites, by their IANA names or as
    /// [`TlsInfo::cipher_suite`](crate::TlsInfo::cipher_suite) has them, the preferred one first:
    /// the client's order does not count. By default all that rustls finds safe, in its order.
    ///
    /// Each version that is spoken needs one: see [`min_version`](Self::min_version).
    pub fn cipher_suites<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.settings.ciphers = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The groups of the key exchange, by name, such as `X25519MLKEM768` (post-quantum, with
    /// aws-lc-rs) and `X25519`. By default rustls's choice: `X25519`, `secp256r1`, `secp384r1`, and
    /// with aws-lc-rs `X25519MLKEM768`.
    ///
    /// Of those that a client offers, the first one of its own order is used: one that has
    /// `X25519MLKEM768` and prefers it gets it.
    pub fn key_exchange_groups<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.settings.groups = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Seals session tickets with these keys, for processes that share them. By default with keys
    /// of the layer's own.
    pub fn ticket_keys(mut self, keys: TicketKeys) -> Self {
        self.settings.resumption = Resumption::With(keys);
        self
    }

    /// Resumes no sessions: every client makes a full handshake. By default sessions are resumed,
    /// for 6 hours.
    pub fn no_resumption(mut self) -> Self {
        self.settings.resumption = Resumption::Off;
        self
    }

    /// Tells the secrets of every session to this log, which lets its readers decrypt all traffic:
    /// for debugging, and never by default, whatever the environment says.
    /// [`rustls::KeyLogFile`](super::rustls::KeyLogFile) writes them to the file that
    /// `SSLKEYLOGFILE` names.
    pub fn key_log(mut self, log: Arc<dyn KeyLog>) -> Self {
        self.settings.key_log = Some(log);
        self
    }

    /// What tells the time to those who judge certificates and the age of session tickets. By
    /// default the system's clock; another one is for tests.
    pub fn time_provider(mut self, clock: Arc<dyn TimeProvider>) -> Self {
        self.settings.clock = Some(clock);
        self
    }

    /// The oldest version that is spoken. TLS 1.2 by default.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.settings.min_version = version;
        self
    }

    /// The application protocols (ALPN, RFC 7301), the preferred one first. None by default.
    ///
    /// A client that names only others is refused; one that names none is served, and
    /// [`TlsInfo::alpn`](crate::TlsInfo::alpn) is `None`.
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.settings.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self
    }

    /// Whether a client must agree on an application protocol. By default one that names none is
    /// served. If it must, its handshake fails (`alpn`) with the alert no_application_protocol.
    pub fn require_alpn(mut self, required: bool) -> Self {
        self.settings.alpn_required = required;
        self
    }

    /// How many handshakes may be in progress. By default 4096, and 256 of one peer.
    pub fn handshake_limits(mut self, limits: HandshakeLimits) -> Self {
        self.handshake_limits = Some(limits);
        self
    }

    /// How long a handshake may take in all, from the call of the service to its last byte. 10
    /// seconds by default.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Reads the files and builds the layer, which serves them as long as it lives.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] names the file or setting that cannot be used.
    pub fn build(self) -> Result<TlsLayer, TlsConfigError> {
        self.build_reloadable().map(|(layer, _)| layer)
    }

    /// As [`build`](Self::build), and returns the handle that reads the files again.
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
