//! Certificates for tests, made when they are needed: a CA, servers, and clients good and bad.

// Each test program that includes this uses a part of it.
#![allow(dead_code, unreachable_pub)]

use portcullis_layers::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, date_time_ymd,
};

/// A CA.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub der: CertificateDer<'static>,
    pub pem: String,
}

/// A certificate of a CA's, with its key.
pub struct Pair {
    pub der: CertificateDer<'static>,
    pub pem: String,
    pub key: PrivateKeyDer<'static>,
    pub key_pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap();
        Self { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// A server's certificate for `localhost`.
    pub fn server(&self) -> Pair {
        self.server_with(&KeyPair::generate().unwrap())
    }

    /// A server's certificate for `localhost` with an RSA key of 2048 bits.
    pub fn rsa_server(&self) -> Pair {
        self.server_with(&KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap())
    }

    fn server_with(&self, key: &KeyPair) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params, key)
    }

    /// A client's certificate that is good until the year 4096.
    pub fn client(&self) -> Pair {
        self.client_that(|_| ())
    }

    pub fn expired_client(&self) -> Pair {
        self.client_that(|params| params.not_after = date_time_ymd(2001, 1, 1))
    }

    pub fn not_yet_valid_client(&self) -> Pair {
        self.client_that(|params| params.not_before = date_time_ymd(4000, 1, 1))
    }

    /// A client whose certificate is meant for servers.
    pub fn wrong_usage_client(&self) -> Pair {
        self.client_that(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])
    }

    fn client_that(&self, is: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        is(&mut params);
        self.sign(&params, &KeyPair::generate().unwrap())
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Pair {
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        Pair {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            key_pem: key.serialize_pem(),
        }
    }
}

impl Pair {
    /// The key in the form that is older than PKCS#8: PKCS#1 for RSA, SEC1 for ECDSA.
    pub fn traditional_key_pem(&self, label: &str) -> String {
        pem(label, traditional(self.key.secret_der()))
    }
}

/// DER as PEM (RFC 7468).
pub fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (index, group) in der.chunks(3).enumerate() {
        if index % 16 == 0 {
            text.push('\n');
        }
        let mut bytes = [0; 3];
        bytes[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 63;
            text.push(if place <= group.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    format!("-----BEGIN {label}-----{text}\n-----END {label}-----\n")
}

/// What a PKCS#8 key wraps: `SEQUENCE { version, algorithm, OCTET STRING }` (RFC 5208, 5).
fn traditional(pkcs8: &[u8]) -> &[u8] {
    let (sequence, _) = element(pkcs8);
    let (_version, rest) = element(sequence);
    let (_algorithm, rest) = element(rest);
    element(rest).0
}

/// The contents of the first DER element, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (header, length) = match usize::from(der[1]) {
        short @ 0..=127 => (2, short),
        long => {
            let bytes = long & 127;
            (2 + bytes, der[2..2 + bytes].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
    };
    der[header..].split_at(length)
}
