//! Builds a [`TlsLayer`] from PEM.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{ClientAuth, TlsConfigError, TlsLayer, TlsVersion, layer::HANDSHAKE_TIMEOUT, pem::Pem};

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
    certificate: Option<CertificatePem>,
    client_auth: ClientAuth,
    min_version: TlsVersion,
    alpn: Vec<Vec<u8>>,
    handshake_timeout: Duration,
}

#[derive(Clone, Debug)]
struct CertificatePem {
    chain: Pem,
    key: Pem,
}

impl TlsBuilder {
    pub(super) const fn new() -> Self {
        Self {
            certificate: None,
            client_auth: ClientAuth::Off,
            min_version: TlsVersion::V1_2,
            alpn: Vec::new(),
            handshake_timeout: HANDSHAKE_TIMEOUT,
        }
    }

    /// The server's certificate and its private key, from PEM files.
    ///
    /// The first file has the server's own certificate first, then those of its issuers as far as clients
    /// need them. The second has the key, as PKCS#8, PKCS#1 or SEC1, without a password. Both may be one
    /// file. Replaces a certificate given before.
    pub fn certificate_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate =
            Some(CertificatePem { chain: Pem::File(certificate.into()), key: Pem::File(key.into()) });
        self
    }

    /// As [`TlsBuilder::certificate_files`], from PEM texts.
    pub fn certificate_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificate =
            Some(CertificatePem { chain: Pem::Bytes(certificate.into()), key: Pem::Bytes(key.into()) });
        self
    }

    /// Whether clients are asked for a certificate. Off by default.
    pub fn client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.client_auth = client_auth;
        self
    }

    /// The oldest version that is spoken. TLS 1.2 by default.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// The application protocols (ALPN, RFC 7301), the preferred one first. None by default.
    ///
    /// A client that names only others is refused; one that names none is served, and
    /// [`TlsSession::alpn`](super::TlsSession::alpn) is `None`.
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self
    }

    /// How long a handshake may take in all, from the call of the service to its last byte. 10 seconds by
    /// default.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Reads the files and builds the layer.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] says which file or setting is wrong, and what to do.
    pub fn build(self) -> Result<TlsLayer, TlsConfigError> {
        if let Some(name) = self.alpn.iter().find(|name| name.is_empty() || name.len() > 255) {
            return Err(TlsConfigError::Alpn(String::from_utf8_lossy(name).into_owned()));
        }
        // Given in words: the process may have another default provider, or none.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate =
            self.certificate.ok_or(TlsConfigError::NoCertificateConfigured)?.certified_key(&provider)?;
        let verifier = self.client_auth.verifier(&provider)?;

        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.min_version.and_younger())
            .map_err(TlsConfigError::Rustls)?;
        let asks_for_certificates = verifier.is_some();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
        config.alpn_protocols = self.alpn;
        // 0-RTT data can be replayed, and a service here cannot tell it from other data.
        config.max_early_data_size = 0;
        if asks_for_certificates {
            // rustls does not run the verifier again when a session is resumed: a certificate that has
            // expired or whose CA is trusted no more would go on being let in. Both ways to resume are
            // closed: by an id or stateful ticket (the storage), and by tickets offered after a handshake.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(TlsLayer::from_config(Arc::new(config)).handshake_timeout(self.handshake_timeout))
    }
}

impl CertificatePem {
    fn certified_key(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsConfigError> {
        let chain = self.chain.certificates()?;
        let key = provider
            .key_provider
            .load_private_key(self.key.key()?)
            .map_err(|source| TlsConfigError::UnusableKey { from: self.key.source(), source })?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsConfigError::KeyMismatch { certificate: self.chain.source(), key: self.key.source() }
            }
            source => TlsConfigError::UnusableCertificate { from: self.chain.source(), number: 1, source },
        })?;
        Ok(certified)
    }
}
