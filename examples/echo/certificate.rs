//! A certificate for `--tls-self-signed`: made at the start, kept in memory alone.

/// A certificate for the names of this machine's loopback, and its key, as PEM.
pub(crate) fn self_signed() -> Result<(String, String), rcgen::Error> {
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names)?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}
