//! Certificates for tests, made when they are needed: CAs, servers, clients good and bad, and revocation lists.

// Each test program that includes this uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::sync::atomic::{AtomicU16, Ordering};

use portcullis_layers::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, PublicKeyData, RevokedCertParams,
    SerialNumber, date_time_ymd,
};

/// A CA.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub der: CertificateDer<'static>,
    pub pem: String,
    pub serial: SerialNumber,
    /// The certificates from this one up to the root, which is not among them.
    above: Vec<CertificateDer<'static>>,
}

/// A certificate of a CA's, with its key.
pub struct Pair {
    pub der: CertificateDer<'static>,
    pub pem: String,
    pub key: PrivateKeyDer<'static>,
    pub key_pem: String,
    /// The SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    pub serial: SerialNumber,
    /// The intermediates that it needs.
    issuers: Vec<CertificateDer<'static>>,
}

/// A serial number that no other certificate of the process has, as it stands in the certificate.
fn serial() -> SerialNumber {
    static LAST: AtomicU16 = AtomicU16::new(0x1000);
    SerialNumber::from(LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes().to_vec())
}

impl Authority {
    /// A root.
    pub fn new(name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), Self::params(name));
        let certificate = params.self_signed(&key).unwrap();
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            serial: params.serial_number.clone().unwrap(),
            issuer: Issuer::new(params, key),
            above: Vec::new(),
        }
    }

    /// A CA that this one vouches for.
    pub fn intermediate(&self, name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), Self::params(name));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let mut above = vec![certificate.der().clone()];
        above.extend_from_slice(&self.above);
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            serial: params.serial_number.clone().unwrap(),
            issuer: Issuer::new(params, key),
            above,
        }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial());
        params
    }

    /// The revocation list of this CA, as PEM, good until the year 4000.
    pub fn crl<'a>(&self, revoked: impl IntoIterator<Item = &'a SerialNumber>) -> String {
        self.crl_that(revoked, |_| ())
    }

    /// One that ended long ago.
    pub fn expired_crl<'a>(&self, revoked: impl IntoIterator<Item = &'a SerialNumber>) -> String {
        self.crl_that(revoked, |list| list.next_update = date_time_ymd(2021, 1, 1))
    }

    pub fn crl_that<'a>(
        &self,
        revoked: impl IntoIterator<Item = &'a SerialNumber>,
        is: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> String {
        pem("X509 CRL", &self.crl_der(revoked, is))
    }

    pub fn crl_der<'a>(
        &self,
        revoked: impl IntoIterator<Item = &'a SerialNumber>,
        is: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> Vec<u8> {
        let revoked = revoked.into_iter().map(|serial| RevokedCertParams {
            serial_number: serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let mut params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        is(&mut params);
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    /// A server's certificate for `localhost`.
    pub fn server(&self) -> Pair {
        self.server_for(&["localhost"])
    }

    /// A server's certificate for these names.
    pub fn server_for(&self, names: &[&str]) -> Pair {
        self.server_with(names, &KeyPair::generate().unwrap())
    }

    /// A server's certificate for `localhost` with an RSA key of 2048 bits.
    pub fn rsa_server(&self) -> Pair {
        self.server_with(&["localhost"], &KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap())
    }

    fn server_with(&self, names: &[&str], key: &KeyPair) -> Pair {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).unwrap();
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

    pub fn client_that(&self, is: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        is(&mut params);
        self.sign(&params, &KeyPair::generate().unwrap())
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Pair {
        let mut params = params.clone();
        let serial = params.serial_number.get_or_insert_with(serial).clone();
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        Pair {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            key_pem: key.serialize_pem(),
            public_key: key.subject_public_key_info(),
            serial,
            issuers: self.above.clone(),
        }
    }
}

impl Pair {
    /// The certificate, and the intermediates that it needs.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let mut chain = vec![self.der.clone()];
        chain.extend_from_slice(&self.issuers);
        chain
    }

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
