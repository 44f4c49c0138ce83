//! The CAs that vouch for clients, and what they have revoked.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use tokio_rustls::rustls::{
    Error, RootCertStore,
    crypto::CryptoProvider,
    pki_types::CertificateRevocationListDer,
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{
    super::{Expiry, ExpiryKind, TlsConfigError, digest::Digest, pem::Pem},
    ExpiredCrl, UnknownRevocation,
};

/// The CA certificates that vouch for clients, and their revocation lists.
///
/// They are read when the layer is built, and at each reload. Each CA is trusted as it stands: its own dates are not
/// looked at, nor whether it is a CA at all. So list no certificate whose holder you do not trust to issue others.
///
/// Without a revocation list nothing is known to be revoked. With one, every certificate of a chain but the root is looked
/// up; see [`UnknownRevocation`] and [`ExpiredCrl`] for what happens where the lists do not say. Both deny by default.
#[derive(Clone, Debug)]
pub struct ClientRoots {
    sources: Vec<Pem>,
    crls: Vec<Pem>,
    unknown: UnknownRevocation,
    expired: ExpiredCrl,
}

/// What was read of [`ClientRoots`].
pub(in super::super) struct Trust {
    pub(in super::super) verifier: Arc<dyn ClientCertVerifier>,
    pub(in super::super) expiries: Vec<Expiry>,
}

impl ClientRoots {
    /// All certificates of a PEM file.
    #[must_use]
    pub fn from_pem_file(path: impl Into<PathBuf>) -> Self {
        Self::from_pem_files([path])
    }

    /// All certificates of several PEM files, each of which must have one.
    #[must_use]
    pub fn from_pem_files<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self::new(paths.into_iter().map(|path| Pem::File(path.into())).collect())
    }

    /// All certificates of a PEM text.
    #[must_use]
    pub fn from_pem(text: impl Into<Vec<u8>>) -> Self {
        Self::new(vec![Pem::Bytes(text.into())])
    }

    fn new(sources: Vec<Pem>) -> Self {
        Self { sources, crls: Vec::new(), unknown: UnknownRevocation::Deny, expired: ExpiredCrl::Deny }
    }

    /// All revocation lists of a PEM file (`-----BEGIN X509 CRL-----`), beside those that were given before.
    #[must_use]
    pub fn crl_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.crls.push(Pem::File(path.into()));
        self
    }

    /// As [`crl_file`](Self::crl_file), from a PEM text.
    #[must_use]
    pub fn crl_pem(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.crls.push(Pem::Bytes(text.into()));
        self
    }

    /// What happens to a client about whom the revocation lists say nothing. By default it is denied.
    #[must_use]
    pub const fn unknown_revocation(mut self, choice: UnknownRevocation) -> Self {
        self.unknown = choice;
        self
    }

    /// What happens where a revocation list is out of date. By default the clients of its CA are denied.
    #[must_use]
    pub const fn expired_crl(mut self, choice: ExpiredCrl) -> Self {
        self.expired = choice;
        self
    }

    pub(in super::super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.sources.iter().chain(&self.crls).filter_map(Pem::path)
    }

    /// Reads all of it. What decides who is let in goes into `digest`.
    pub(in super::super) fn read(
        &self,
        required: bool,
        provider: &Arc<CryptoProvider>,
        digest: &mut Digest,
    ) -> Result<Trust, TlsConfigError> {
        let mut roots = RootCertStore::empty();
        for pem in &self.sources {
            for (index, certificate) in pem.certificates()?.into_iter().enumerate() {
                digest.add("root", &certificate);
                roots.add(certificate).map_err(|source| TlsConfigError::UnusableCertificate {
                    from: pem.source(),
                    number: index + 1,
                    source,
                })?;
            }
        }
        let (mut crls, mut expiries) = (Vec::<CertificateRevocationListDer<'static>>::new(), Vec::new());
        for pem in &self.crls {
            let lists = pem.revocation_lists()?;
            expiries.extend(lists.iter().filter_map(|(_, next)| pem.expiry(ExpiryKind::Crl, (*next)?)));
            crls.extend(lists.into_iter().map(|(list, _)| list));
        }
        for list in &crls {
            digest.add("crl", list);
        }
        digest.add("choices", format!("{required} {:?} {:?}", self.unknown, self.expired).as_bytes());

        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = if required { builder } else { builder.allow_unauthenticated() };
        let builder = builder.with_crls(crls);
        let builder = match self.unknown {
            UnknownRevocation::Deny => builder,
            UnknownRevocation::Allow => builder.allow_unknown_revocation_status(),
        };
        let builder = match self.expired {
            ExpiredCrl::Deny => builder.enforce_revocation_expiration(),
            ExpiredCrl::Allow => builder,
        };
        let verifier = builder.build().map_err(|error| match error {
            VerifierBuilderError::NoRootAnchors => TlsConfigError::NoClientRoots,
            VerifierBuilderError::InvalidCrl(error) => {
                TlsConfigError::Rustls(Error::InvalidCertRevocationList(error))
            }
            error => TlsConfigError::Rustls(Error::General(error.to_string())),
        })?;
        Ok(Trust { verifier, expiries })
    }
}

/// The moment that an X.509 time means; before 1970 it is 1970.
pub(in super::super) fn moment(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
