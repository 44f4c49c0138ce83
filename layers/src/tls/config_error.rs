//! What can be wrong with the configuration of TLS.

use std::{
    borrow::Cow,
    fmt, io,
    path::{Path, PathBuf},
};

use tokio_rustls::rustls;

/// Where PEM text came from; an error names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PemSource {
    /// A file.
    File(PathBuf),
    /// Bytes that the program gave.
    Bytes,
}

impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Bytes => f.write_str("the PEM bytes given"),
        }
    }
}

impl PemSource {
    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Bytes => None,
        }
    }
}

/// A TLS configuration that cannot be used. Nothing of a key is in it, nor in its texts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// The builder was given no certificate.
    #[error("no certificate was configured")]
    NoCertificateConfigured,

    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    #[non_exhaustive]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// What was given for a path is PEM text. It may be a key, and is shown nowhere.
    #[error("the path of a PEM file is PEM text itself (not shown)")]
    TextForPath,

    /// What is wrong with the certificate for a server name, or its key.
    #[error("the certificate for the server name `{name}` cannot be served")]
    #[non_exhaustive]
    ForName {
        /// The name, as it was given.
        name: String,
        /// What is wrong.
        source: Box<TlsConfigError>,
    },

    /// A certificate among the CAs that vouch for clients says of itself that it is none.
    #[error("certificate number {number} in {from} is no CA (it says `CA:FALSE`)")]
    #[non_exhaustive]
    NotACa {
        /// Where the certificate came from.
        from: PemSource,
        /// Its place, from 1.
        number: usize,
    },

    /// The text breaks the rules of PEM (RFC 7468).
    #[error("{from} is not valid PEM: {problem}")]
    #[non_exhaustive]
    Malformed {
        /// Where the text came from.
        from: PemSource,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// There is no certificate.
    #[error("there is no certificate in {from}")]
    #[non_exhaustive]
    NoCertificate {
        /// Where it was looked for.
        from: PemSource,
    },

    /// The keys of session tickets cannot be used.
    #[error(transparent)]
    TicketKeys(#[from] super::TicketKeysError),

    /// There is no revocation list.
    #[error("there is no revocation list in {from}")]
    #[non_exhaustive]
    NoCrl {
        /// Where it was looked for.
        from: PemSource,
    },

    /// A revocation list cannot be read.
    #[error("revocation list number {number} in {from} cannot be used")]
    #[non_exhaustive]
    UnusableCrl {
        /// Where it came from.
        from: PemSource,
        /// Its place, from 1.
        number: usize,
        /// What rustls says about it.
        source: rustls::Error,
    },

    /// A certificate was given for what is no server name.
    #[error("`{0}` is no server name")]
    ServerName(String),

    /// Two certificates were given for one server name.
    #[error("there are two certificates for the server name `{0}`")]
    TwiceTheName(String),

    /// Only clients that ask for one of the names are served, and there is none.
    #[error("only clients that ask for a server name are served, and no certificate has one")]
    StrictWithoutNames,

    /// A name that nobody here knows.
    #[error("`{name}` is no {kind} that can be used here")]
    #[non_exhaustive]
    UnknownName {
        /// The name that was given.
        name: String,
        /// `cipher suite` or `key exchange group`.
        kind: &'static str,
        /// All names there are.
        known: String,
    },

    /// Nothing that was chosen can be used with one of the versions.
    #[error("no {kind} that was chosen is one of {version}, which is spoken as well")]
    #[non_exhaustive]
    NoneForVersion {
        /// `cipher suite` or `key exchange group`.
        kind: &'static str,
        /// The version.
        version: super::TlsVersion,
        /// Those that it can be used with.
        known: String,
    },

    /// Identity rules were given, and client certificates are not asked for.
    #[error("identity rules need client certificates")]
    RulesWithoutRoots,

    /// ALPN is required, and no protocol is named.
    #[error("an application protocol is required (ALPN), but none is named")]
    AlpnRequiredWithoutProtocols,

    /// There is no private key.
    #[error("there is no private key in {from}")]
    #[non_exhaustive]
    NoKey {
        /// Where it was looked for.
        from: PemSource,
    },

    /// The private key needs a password.
    #[error("the private key in {from} is encrypted")]
    #[non_exhaustive]
    EncryptedKey {
        /// Where the key came from.
        from: PemSource,
    },

    /// The private key cannot be used.
    #[error("the private key in {from} cannot be used")]
    #[non_exhaustive]
    UnusableKey {
        /// Where the key came from.
        from: PemSource,
        /// What rustls says about it.
        source: rustls::Error,
    },

    /// A certificate cannot be read.
    #[error("certificate number {number} in {from} cannot be used")]
    #[non_exhaustive]
    UnusableCertificate {
        /// Where the certificate came from.
        from: PemSource,
        /// Its place, from 1.
        number: usize,
        /// What rustls says about it.
        source: rustls::Error,
    },

    /// The private key is another certificate's.
    #[error("the private key in {key} does not belong to the first certificate in {certificate}")]
    #[non_exhaustive]
    KeyMismatch {
        /// Where the certificate came from.
        certificate: PemSource,
        /// Where the key came from.
        key: PemSource,
    },

    /// Client certificates are asked for, and there is no CA that could vouch for one.
    #[error("client certificates are asked for, but no CA was given")]
    NoClientRoots,

    /// An application protocol whose name is empty or longer than 255 bytes (RFC 7301, 3.1).
    #[error("the ALPN protocol name {0:?} must have 1 to 255 bytes")]
    Alpn(String),

    /// rustls refuses it for a reason that is not named above.
    #[error("rustls refuses the TLS configuration")]
    Rustls(#[source] rustls::Error),
}

impl TlsConfigError {
    /// What an operator can do about the error. Print it next to the message and its sources.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::ForName { source, .. } => return source.hint(),
            Self::TicketKeys(error) => return error.hint().map(Cow::Borrowed),
            Self::UnknownName { known, .. } => {
                return Some(format!("those that can be used: {known}").into());
            }
            Self::NoneForVersion { known, .. } => {
                return Some(format!("add one of {known}, or choose another oldest version").into());
            }
            Self::NoCertificateConfigured => "give a certificate and its private key",
            Self::Read { .. } => "check that the file exists and that this process may read it",
            Self::TextForPath => "write it to a file, and give its path",
            Self::NotACa { .. } => {
                "its holder could vouch for others: give the certificate of the CA that has signed it, and choose clients by identity rules"
            }
            Self::NoCertificate { .. } => {
                "it must have a block `-----BEGIN CERTIFICATE-----` (one in DER is converted by `openssl x509 -inform der`)"
            }
            Self::NoCrl { .. } => {
                "it must have a block `-----BEGIN X509 CRL-----` (one in DER is converted by `openssl crl -inform der`)"
            }
            Self::UnusableCrl { .. } => {
                "it must be a full list of X.509 version 2, with a next update and a number, of the CA itself (`openssl crl -in CRL -text` shows it)"
            }
            Self::ServerName(_) => {
                "write a DNS name such as `example.org`, or `*.example.org` (one with other letters in its ASCII form, `xn--...`); a client that connects to an IP address asks for no name"
            }
            Self::TwiceTheName(_) => "give one",
            Self::StrictWithoutNames => "give certificates by server name",
            Self::RulesWithoutRoots => "give the CAs that vouch for them",
            Self::AlpnRequiredWithoutProtocols => "name the protocols",
            Self::NoKey { .. } => {
                "it must have a block `-----BEGIN PRIVATE KEY-----` (PKCS#8), `-----BEGIN RSA PRIVATE KEY-----` (PKCS#1) or `-----BEGIN EC PRIVATE KEY-----` (SEC1)"
            }
            Self::EncryptedKey { .. } => {
                "decrypt it with `openssl pkey -in KEY -out DECRYPTED`, and protect the file by its permissions"
            }
            Self::UnusableKey { .. } => {
                "it must be RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519"
            }
            Self::UnusableCertificate { .. } => {
                "it must be an X.509 certificate of version 3 (`openssl x509 -in FILE -text` shows it)"
            }
            Self::KeyMismatch { .. } => {
                "give the two that were made together, and the certificate of the server before those of its issuers"
            }
            Self::NoClientRoots => "give the CAs that vouch for clients",
            Self::Malformed { .. } | Self::Alpn(_) | Self::Rustls(_) => return None,
        };
        Some(Cow::Borrowed(hint))
    }

    /// The files that the error concerns, except those of a [server name](Self::ForName): one file,
    /// a certificate and a key that do not belong together, or none.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let [one, other] = match self {
            Self::Read { path, .. } => [Some(path.as_path()), None],
            Self::Malformed { from, .. }
            | Self::NoCertificate { from }
            | Self::NoCrl { from }
            | Self::UnusableCrl { from, .. }
            | Self::NoKey { from }
            | Self::EncryptedKey { from }
            | Self::UnusableKey { from, .. }
            | Self::NotACa { from, .. }
            | Self::UnusableCertificate { from, .. } => [from.file(), None],
            Self::KeyMismatch { certificate, key } => [certificate.file(), key.file()],
            Self::TicketKeys(error) => [error.file(), None],
            Self::NoCertificateConfigured
            | Self::TextForPath
            | Self::ForName { .. }
            | Self::ServerName(_)
            | Self::TwiceTheName(_)
            | Self::StrictWithoutNames
            | Self::UnknownName { .. }
            | Self::NoneForVersion { .. }
            | Self::RulesWithoutRoots
            | Self::AlpnRequiredWithoutProtocols
            | Self::NoClientRoots
            | Self::Alpn(_)
            | Self::Rustls(_) => [None, None],
        };
        one.into_iter().chain(other)
    }
}
