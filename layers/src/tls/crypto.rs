//! The one place that knows which cryptography there is: aws-lc-rs, or ring where it is chosen instead. Their interfaces are
//! the same as far as this crate uses them.

#[cfg(feature = "aws-lc-rs")]
pub(super) use aws_lc_rs::{aead, digest, rand};
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
pub(super) use ring::{aead, digest, rand};
#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!(
    "portcullis needs cryptography for TLS: enable its feature `aws-lc-rs` (the default) or `ring`"
);

use tokio_rustls::rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc-rs")]
pub(super) use tokio_rustls::rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, ALL_KX_GROUPS};
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
pub(super) use tokio_rustls::rustls::crypto::ring::{ALL_CIPHER_SUITES, ALL_KX_GROUPS};

/// rustls's view of it. Given in words everywhere: the process may have another default provider, or none.
pub(super) fn provider() -> CryptoProvider {
    #[cfg(feature = "aws-lc-rs")]
    return tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return tokio_rustls::rustls::crypto::ring::default_provider();
}
