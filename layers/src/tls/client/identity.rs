//! Reads the holder of a certificate.

use std::net::IpAddr;

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::super::digest;
use crate::tls_info::ClientIdentity;

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

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::{collection::vec, option, prelude::*, sample::Index};
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    /// With a name of each kind.
    static CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Alice Liddell");
        params.distinguished_name.push(DnType::OrganizationalUnitName, "Billing");
        params.subject_alt_names = vec![
            SanType::Rfc822Name("alice@example.org".try_into().unwrap()),
            SanType::DnsName("alice.example.org".try_into().unwrap()),
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
            SanType::URI("spiffe://example.org/alice".try_into().unwrap()),
        ];
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    });

    fn identity(certificate: &[u8]) -> Option<ClientIdentity> {
        ClientIdentity::of(&CertificateDer::from(certificate))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_certificate_that_was_tampered_with_never_panics(
            changes in vec((any::<Index>(), any::<u8>()), 0..6),
            inserted in option::of((any::<Index>(), any::<u8>())),
            cut in option::weighted(0.2, any::<Index>()),
        ) {
            let mut bytes = CERTIFICATE.clone();
            for (place, byte) in changes {
                *place.get_mut(&mut bytes) = byte;
            }
            if let Some((place, byte)) = inserted {
                bytes.insert(place.index(bytes.len()), byte);
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Some(identity) = identity(&bytes) {
                let shown = identity.to_string();
                prop_assert!(!shown.is_empty() && !shown.chars().any(char::is_control), "{shown:?}");
            }
        }

        #[test]
        fn bytes_that_are_no_certificate_name_nobody(bytes in vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(identity(&bytes), None);
        }

        #[test]
        fn nothing_of_a_name_reaches_a_log_unescaped(name in "\\PC*[\\x00-\\x1f\\x7f\u{202e}\u{2028}\"]\\PC*") {
            let identity = ClientIdentity { common_names: vec![name], ..named_nothing() };
            let shown = identity.to_string();
            let harmless = |c: char| !c.is_control() && !['\u{202e}', '\u{2028}'].contains(&c);
            prop_assert!(shown.chars().all(harmless), "{shown:?}");
            prop_assert!(!shown.replace("\\\\", "").replace("\\\"", "").contains('"'), "{shown}");
        }
    }

    fn named_nothing() -> ClientIdentity {
        ClientIdentity {
            common_names: Vec::new(),
            organizational_units: Vec::new(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            uris: Vec::new(),
            spki_sha256: [0; 32],
            serial: "0a01".to_owned(),
        }
    }

    #[test]
    fn it_is_shown_by_the_name_that_says_the_most() {
        let mut identity = named_nothing();
        identity.uris.push(String::new());
        assert_eq!(identity.to_string(), "serial 0a01");
        identity.ip_addresses.push("2001:db8::7".parse().unwrap());
        assert_eq!(identity.to_string(), "2001:db8::7");
        identity.common_names.push("Alice\nLiddell".to_owned());
        assert_eq!(identity.to_string(), "Alice\\nLiddell");
        identity.common_names[0] = "\n".repeat(60_000);
        assert_eq!(identity.to_string(), "\\n".repeat(128) + "…");
        identity.dns_names.push("alice.example.org".to_owned());
        assert_eq!(identity.to_string(), "alice.example.org");
        identity.uris.push("spiffe://example.org/alice".to_owned());
        assert_eq!(identity.to_string(), "spiffe://example.org/alice");
    }
}
