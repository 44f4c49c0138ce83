//! The supported versions of TLS.

use std::str::FromStr;

/// A version of TLS. Older ones are not supported.
///
/// ```
/// use portcullis_layers::TlsVersion;
///
/// assert_eq!("TLSv1_3".parse(), Ok(TlsVersion::V1_3));
/// assert_eq!("1.2".parse(), Ok(TlsVersion::V1_2));
///
/// let error = "TLSv1_1".parse::<TlsVersion>().unwrap_err();
/// assert!(error.to_string().contains("RFC 8996"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with AEAD ciphers and ephemeral key exchange only.
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

crate::label_enum::label_enum!(pub TlsVersion {
    V1_2 => "TLSv1.2",
    V1_3 => "TLSv1.3",
});

/// Reads `TLSv1_2`, `TLSv1.2` or `1.2`, and the same for 1.3.
impl FromStr for TlsVersion {
    type Err = ParseTlsVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "TLSv1_2" | "TLSv1.2" | "1.2" => Ok(Self::V1_2),
            "TLSv1_3" | "TLSv1.3" | "1.3" => Ok(Self::V1_3),
            "TLSv1_1" | "TLSv1.1" | "1.1" | "TLSv1_0" | "TLSv1.0" | "1.0" | "TLSv1" | "SSLv3" | "SSLv2"
            | "SSLv23" => Err(ParseTlsVersionError::Insecure { given: text.to_owned() }),
            _ => Err(ParseTlsVersionError::Unknown { given: text.to_owned() }),
        }
    }
}

/// A text that names no supported version of TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTlsVersionError {
    /// A version that must not be used any more.
    #[error(
        "`{given}` is not secure and is not supported: RFC 8996 forbids TLS 1.0 and 1.1, as RFC 7568 and \
         RFC 6176 forbade SSL; use TLSv1_2 or TLSv1_3"
    )]
    #[non_exhaustive]
    Insecure {
        /// What was given.
        given: String,
    },
    /// Something else.
    #[error("`{given}` is not a version of TLS: use TLSv1_2 or TLSv1_3")]
    #[non_exhaustive]
    Unknown {
        /// What was given.
        given: String,
    },
}
