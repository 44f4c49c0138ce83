//! The holder of a client's certificate.

use std::{fmt, net::IpAddr};

/// How many characters of a name are displayed: it may come from a certificate that no CA has signed.
const LONGEST_SHOWN: usize = 128;

/// The identity in a client's certificate.
///
/// Names that are not UTF-8 and fields that are not listed here are omitted. Names are not
/// unescaped or normalised, except that DNS names are in lower case: a name may contain a NUL or a
/// line break, or start with `*.`, if the CA has signed that. `Display` prints one name, with
/// characters that are not printable escaped.
///
/// ```
/// use portcullis_layers::{BoxError, Connection};
///
/// async fn serve<C: Connection>(connection: C) -> Result<(), BoxError> {
///     let identity = connection.tls().and_then(|tls| tls.client_identity.as_deref());
///     let Some(identity) = identity else { return Err("the client has no certificate".into()) };
///     let service = identity.uris.iter().find_map(|uri| uri.strip_prefix("spiffe://example.org/"));
///     println!("{identity} is the service {service:?}");
///     Ok(())
/// }
/// # let _ = serve::<tokio::net::TcpStream>;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientIdentity {
    /// The common names (CN) of the subject.
    pub common_names: Vec<String>,
    /// The organizational units (OU) of the subject.
    pub organizational_units: Vec<String>,
    /// The DNS names of the subject's alternative names (RFC 5280, 4.2.1.6).
    pub dns_names: Vec<String>,
    /// The IP addresses among them.
    pub ip_addresses: Vec<IpAddr>,
    /// The URIs among them; a SPIFFE ID is one (`spiffe://…`).
    pub uris: Vec<String>,
    /// SHA-256 of the public key (its SubjectPublicKeyInfo, RFC 7469, 2.4).
    pub spki_sha256: [u8; 32],
    /// The serial number, in hexadecimal digits.
    pub serial: String,
}

/// Prints the first URI, DNS name, common name or IP address, or else the serial number. For logs:
/// characters that are not printable are escaped, and at most 128 characters are printed.
impl fmt::Display for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.uris.iter().chain(&self.dns_names).chain(&self.common_names);
        // A CA may have signed an empty one.
        if let Some(name) = names.find(|name| !name.is_empty()) {
            name.chars().take(LONGEST_SHOWN).try_for_each(|c| c.escape_debug().fmt(f))?;
            return if name.chars().nth(LONGEST_SHOWN).is_some() { f.write_str("…") } else { Ok(()) };
        }
        match self.ip_addresses.first() {
            Some(address) => address.fmt(f),
            None => write!(f, "serial {}", self.serial),
        }
    }
}
