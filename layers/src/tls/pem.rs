//! Certificates and keys from PEM text, with errors that say what to do.

use std::{
    fmt, fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio_rustls::rustls::{
    CertRevocationListError,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
        pem::{Error, PemObject},
    },
    server::ParsedCertificate,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::{Expiry, ExpiryKind, PemSource, TlsConfigError};

/// How a block of PEM begins.
const BEGIN: &[u8] = b"-----BEGIN";

/// PEM text, or the file it is in.
#[derive(Clone)]
pub(super) enum Pem {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// A revocation list, and what it says of itself.
pub(super) struct RevocationList {
    pub(super) from: PemSource,
    /// Its place there, from 1.
    pub(super) number: usize,
    /// Seconds since 1970.
    pub(super) this_update: i64,
    pub(super) next_update: Option<SystemTime>,
    pub(super) der: CertificateRevocationListDer<'static>,
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
            // Nor may it be shown.
            Self::File(path) if !is_text(path) => PemSource::File(path.clone()),
            Self::File(_) | Self::Bytes(_) => PemSource::Bytes,
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
            // It would be in the error, and that in a log.
            Self::File(path) if is_text(path) => Err(TlsConfigError::TextForPath),
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

    /// All revocation lists, in their order; at least one.
    pub(super) fn revocation_lists(&self) -> Result<Vec<RevocationList>, TlsConfigError> {
        let lists = CertificateRevocationListDer::pem_slice_iter(&self.read()?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.malformed(&error))?;
        if lists.is_empty() {
            return Err(TlsConfigError::NoCrl { from: self.source() });
        }
        let read = |(index, der): (usize, CertificateRevocationListDer<'static>)| {
            let (_, parsed) =
                CertificateRevocationList::from_der(&der).map_err(|_| TlsConfigError::UnusableCrl {
                    from: self.source(),
                    number: index + 1,
                    source: CertRevocationListError::ParseError.into(),
                })?;
            let this_update = parsed.last_update().timestamp();
            let next_update = parsed.next_update().map(|time| moment(time.timestamp()));
            Ok(RevocationList { from: self.source(), number: index + 1, this_update, next_update, der })
        };
        lists.into_iter().enumerate().map(read).collect()
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

/// Whether this is what belongs into a file, where its path was asked for.
fn is_text(path: &Path) -> bool {
    path.as_os_str().as_bytes().windows(BEGIN.len()).any(|window| window == BEGIN)
}

/// Whether a certificate says that its holder may not issue others (basic constraints; RFC 5280, 4.2.1.9).
pub(super) fn is_no_ca(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    matches!(parsed.basic_constraints(), Ok(Some(constraints)) if !constraints.value.ca)
}

/// When the first certificate of a chain ends.
pub(super) fn first_end(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let ends = chain.iter().filter_map(|certificate| {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(moment(parsed.validity().not_after.timestamp()))
    });
    ends.min()
}

/// The moment that an X.509 time means; before 1970 it is 1970.
fn moment(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn is_encrypted(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || (line.starts_with(b"Proc-Type:") && line.trim_ascii_end().ends_with(b"ENCRYPTED"))
    })
}
