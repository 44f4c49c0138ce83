//! Certificates and keys from PEM text, with errors that say what to do.

use std::{fmt, fs, path::PathBuf, time::SystemTime};

use tokio_rustls::rustls::{
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
        pem::{Error, PemObject},
    },
    server::ParsedCertificate,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::{Expiry, ExpiryKind, PemSource, TlsConfigError, client::moment};

/// PEM text, or the file it is in.
#[derive(Clone)]
pub(super) enum Pem {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// The bytes may be a key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source().fmt(f)
    }
}

impl Pem {
    pub(super) fn source(&self) -> PemSource {
        match self {
            Self::File(path) => PemSource::File(path.clone()),
            Self::Bytes(_) => PemSource::Bytes,
        }
    }

    pub(super) const fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Bytes(_) => None,
        }
    }

    /// What is told of something in it that ends at this moment.
    pub(super) fn expiry(&self, kind: ExpiryKind, at: SystemTime) -> Option<Expiry> {
        Some(Expiry { kind, file: self.path()?.clone(), at })
    }

    fn read(&self) -> Result<Vec<u8>, TlsConfigError> {
        match self {
            Self::File(path) => {
                fs::read(path).map_err(|source| TlsConfigError::Read { path: path.clone(), source })
            }
            Self::Bytes(bytes) => Ok(bytes.clone()),
        }
    }

    /// All certificates, in their order; at least one, each of them readable.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        let certificates = CertificateDer::pem_slice_iter(&self.read()?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.malformed(&error))?;
        if certificates.is_empty() {
            return Err(TlsConfigError::NoCertificate { from: self.source() });
        }
        for (index, certificate) in certificates.iter().enumerate() {
            ParsedCertificate::try_from(certificate).map_err(|source| {
                TlsConfigError::UnusableCertificate { from: self.source(), number: index + 1, source }
            })?;
        }
        Ok(certificates)
    }

    /// All revocation lists, in their order, each with its next update; at least one.
    pub(super) fn revocation_lists(
        &self,
    ) -> Result<Vec<(CertificateRevocationListDer<'static>, Option<SystemTime>)>, TlsConfigError> {
        let lists = CertificateRevocationListDer::pem_slice_iter(&self.read()?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.malformed(&error))?;
        if lists.is_empty() {
            return Err(TlsConfigError::NoCrl { from: self.source() });
        }
        let mut dated = Vec::with_capacity(lists.len());
        for (index, list) in lists.into_iter().enumerate() {
            let unusable = || TlsConfigError::UnusableCrl { from: self.source(), number: index + 1 };
            let (_, parsed) = CertificateRevocationList::from_der(&list).map_err(|_| unusable())?;
            let next_update = parsed.next_update().map(|time| moment(time.timestamp()));
            dated.push((list, next_update));
        }
        Ok(dated)
    }

    /// The first private key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
        let text = self.read()?;
        match PrivateKeyDer::from_pem_slice(&text) {
            Ok(key) => Ok(key),
            // PKCS#8 says so in its label, which is then none that the parser knows; the older forms in a
            // header, which it takes for base64.
            Err(_) if is_encrypted(&text) => Err(TlsConfigError::EncryptedKey { from: self.source() }),
            Err(Error::NoItemsFound) => Err(TlsConfigError::NoKey { from: self.source() }),
            Err(error) => Err(self.malformed(&error)),
        }
    }

    /// The parser's own errors quote the text, which may be a key's.
    fn malformed(&self, error: &Error) -> TlsConfigError {
        let problem = match error {
            Error::MissingSectionEnd { .. } => "a block has no `-----END` line; was the file cut off?",
            Error::IllegalSectionStart { .. } => "a `-----BEGIN` line does not end in five dashes",
            Error::Base64Decode(_) => "what stands in a block is not base64",
            Error::SectionTooLarge => "a block is larger than 256 MB",
            _ => "it has no block that can be read",
        };
        TlsConfigError::Malformed { from: self.source(), problem }
    }
}

/// When the first certificate of a chain ends.
pub(super) fn first_end(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let ends = chain.iter().filter_map(|certificate| {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(moment(parsed.validity().not_after.timestamp()))
    });
    ends.min()
}

fn is_encrypted(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || (line.starts_with(b"Proc-Type:") && line.trim_ascii_end().ends_with(b"ENCRYPTED"))
    })
}
