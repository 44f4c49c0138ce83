//! Whom a client's certificate names.

use std::{fmt, net::IpAddr};

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::super::digest;

/// What a client's certificate says of its holder. It was verified: a CA of yours vouches for it.
///
/// Names that are no UTF-8 are left out; so is whatever is not named here. Nothing of it is unescaped or normalised,
/// but for DNS names, which are in lower case.
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

impl ClientIdentity {
    /// Reads a certificate; `None` if it is none.
    pub(in super::super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let texts = |attributes: &mut dyn Iterator<Item = &x509_parser::x509::AttributeTypeAndValue<'_>>| {
            attributes.filter_map(|attribute| attribute.as_str().ok().map(str::to_owned)).collect::<Vec<_>>()
        };
        let mut identity = Self {
            common_names: texts(&mut subject.iter_common_name()),
            organizational_units: texts(&mut subject.iter_organizational_unit()),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            uris: Vec::new(),
            spki_sha256: digest::sha256(certificate.public_key().raw),
            serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let names = certificate.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => identity.dns_names.push(name.to_ascii_lowercase()),
                GeneralName::URI(uri) => identity.uris.push((*uri).to_owned()),
                GeneralName::IPAddress(bytes) => identity.ip_addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Some(identity)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// The name by which an operator knows it: the first URI, DNS name, common name or address there is, or the serial number.
/// For a log; what is not printable is escaped.
impl fmt::Display for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.uris.iter().chain(&self.dns_names).chain(&self.common_names);
        if let Some(name) = names.into_iter().next() {
            return name.escape_debug().fmt(f);
        }
        match self.ip_addresses.first() {
            Some(address) => address.fmt(f),
            None => write!(f, "serial {}", self.serial),
        }
    }
}
