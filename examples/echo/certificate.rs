//! A certificate for `--tls-self-signed`: made at the start, kept in memory alone.

use portcullis::layers::tls::{TlsBuilder, TlsLayer};

/// TLS settings with a new certificate for the names of this machine's loopback.
pub(crate) fn self_signed() -> Result<TlsBuilder, rcgen::Error> {
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names)?;
    Ok(TlsLayer::builder().certificate_pem(made.cert.pem(), made.signing_key.serialize_pem()))
}
