//! Which certificate is shown to whom: by the server name that the client asks for (SNI, RFC 6066,
//! 3).

use std::{collections::HashMap, sync::Arc};

use tokio_rustls::rustls::{
    pki_types::DnsName,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::TlsConfigError;

/// The certificates, by name.
#[derive(Debug)]
pub(super) struct SniResolver {
    /// For whoever asks for no name, or for another one; `None`: such a client is refused.
    default: Option<Arc<CertifiedKey>>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*.`; a wildcard stands for one label.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
}

impl SniResolver {
    pub(super) fn new(default: Option<Arc<CertifiedKey>>) -> Self {
        Self { default, exact: HashMap::new(), wildcard: HashMap::new() }
    }

    pub(super) fn add(&mut self, name: &str, certificate: Arc<CertifiedKey>) -> Result<(), TlsConfigError> {
        let (map, suffix) = match name.strip_prefix("*.") {
            Some(suffix) => (&mut self.wildcard, suffix),
            None => (&mut self.exact, name),
        };
        // Which an IP address is not: it is no server name (RFC 6066, 3), and would never be asked
        // for. A dot at the end is dropped, as it is from what a client asks for.
        let Ok(parsed) = DnsName::try_from(suffix) else {
            return Err(TlsConfigError::ServerName(name.to_owned()));
        };
        match map.insert(parsed.as_ref().to_ascii_lowercase(), certificate) {
            None => Ok(()),
            Some(_) => Err(TlsConfigError::TwiceTheName(name.to_owned())),
        }
    }

    /// Whether there is a certificate for this name, or for whoever asks for none.
    pub(super) fn serve(&self, name: Option<&str>) -> bool {
        self.certificate(name).is_some()
    }

    fn certificate(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        name.and_then(|name| self.named(name)).or(self.default.as_ref())
    }

    fn named(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        // SniResolver are compared without their case (RFC 4343); rustls gives them in lower case.
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(wildcard)
    }
}

impl ResolvesServerCert for SniResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificate(hello.server_name()).cloned()
    }
}
