//! The CAs that vouch for clients, and what they have revoked.

use std::{cmp::Reverse, path::PathBuf, sync::Arc};

use tokio_rustls::rustls::{
    CertRevocationListError, Error, RootCertStore,
    crypto::CryptoProvider,
    server::{
        ClientCertVerifierBuilder, VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
};

use super::{
    super::{
        Expiry, ExpiryKind, TlsConfigError,
        digest::Digest,
        pem::{self, Pem, RevocationList},
    },
    ExpiredCrl, UnknownRevocation,
};

/// The CA certificates that vouch for clients, and their revocation lists.
///
/// They are read when the layer is built, and at each reload. Each CA is a trust anchor: its own
/// validity period is not checked, and it may issue certificates. Only a certificate with
/// `CA:FALSE` is rejected.
///
/// Without a CRL, revocation is not checked. With one, every certificate of a chain except the root
/// is looked up in the CRL of its issuer. [`UnknownRevocation`] and [`ExpiredCrl`] define what
/// happens if there is no CRL of the issuer, or if it has expired; both deny by default. If there
/// are several CRLs of one CA, the most recent one is used.
///
/// ```
/// use portcullis_layers::tls::{ClientAuth, ClientRoots, ExpiredCrl, TlsLayer};
///
/// let auth = ClientAuth::Required(
///     ClientRoots::from_pem_file("/etc/echo/clients-ca.pem")
///         .crl_file("/etc/echo/clients.crl.pem")
///         // Rather believe an old list than turn everybody away. The default is to deny.
///         .expired_crl(ExpiredCrl::Allow),
/// );
/// let error = TlsLayer::builder()
///     .certificate_files("/etc/echo/cert.pem", "/etc/echo/key.pem")
///     .client_auth(auth)
///     .build()
///     .unwrap_err();
/// assert!(error.to_string().starts_with("cannot read /etc/echo/cert.pem"));
/// ```
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

    /// Adds all CRLs of a PEM file (`-----BEGIN X509 CRL-----`).
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

    /// What happens to a client whose certificate is covered by no CRL. By default it is denied.
    #[must_use]
    pub const fn unknown_revocation(mut self, choice: UnknownRevocation) -> Self {
        self.unknown = choice;
        self
    }

    /// What happens if a CRL has expired. By default the clients of its CA are denied.
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
        for source in &self.sources {
            for (index, certificate) in source.certificates()?.into_iter().enumerate() {
                if pem::is_no_ca(&certificate) {
                    return Err(TlsConfigError::NotACa { from: source.source(), number: index + 1 });
                }
                digest.add("root", &certificate);
                roots.add(certificate).map_err(|error| TlsConfigError::UnusableCertificate {
                    from: source.source(),
                    number: index + 1,
                    source: error,
                })?;
            }
        }
        let (mut lists, mut expiries) = (Vec::new(), Vec::new());
        for pem in &self.crls {
            let read = pem.revocation_lists()?;
            expiries.extend(read.iter().filter_map(|list| pem.expiry(ExpiryKind::Crl, list.next_update?)));
            lists.extend(read);
        }
        // webpki asks the first list of a CA and no other; of two in a file, or in two, the younger
        // must be asked.
        lists.sort_by_key(|list| Reverse(list.this_update));
        for list in &lists {
            digest.add("crl", &list.der);
        }
        digest.add("choices", format!("{required} {:?} {:?}", self.unknown, self.expired).as_bytes());

        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = if required { builder } else { builder.allow_unauthenticated() };
        let builder = match self.unknown {
            UnknownRevocation::Deny => builder,
            UnknownRevocation::Allow => builder.allow_unknown_revocation_status(),
        };
        let builder = match self.expired {
            ExpiredCrl::Deny => builder.enforce_revocation_expiration(),
            ExpiredCrl::Allow => builder,
        };
        let without_lists = builder.clone();
        let verifier = builder.with_crls(lists.iter().map(|list| list.der.clone())).build();
        let verifier = verifier.map_err(|error| match error {
            VerifierBuilderError::NoRootAnchors => TlsConfigError::NoClientRoots,
            VerifierBuilderError::InvalidCrl(error) => unusable(&without_lists, lists, error),
            error => TlsConfigError::Rustls(Error::General(error.to_string())),
        })?;
        Ok(Trust { verifier, expiries })
    }
}

/// Names the list that cannot be used: rustls says only that there is one.
fn unusable(
    builder: &ClientCertVerifierBuilder,
    lists: Vec<RevocationList>,
    error: CertRevocationListError,
) -> TlsConfigError {
    let is_unusable = |list: &RevocationList| builder.clone().with_crls([list.der.clone()]).build().is_err();
    match lists.into_iter().find(is_unusable) {
        Some(RevocationList { from, number, .. }) => {
            TlsConfigError::UnusableCrl { from, number, source: error.into() }
        }
        None => TlsConfigError::Rustls(error.into()),
    }
}
