//! Certificates for servers and clients, made anew for each test.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer},
    version::{TLS12, TLS13},
};

use super::Place;

/// The name that servers' certificates are for.
pub const SERVER_NAME: &str = "localhost";

/// The name in clients' certificates. It must turn up in no metric.
pub const CLIENT_NAME: &str = "gatekeepers-friend";

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: Arc<KeyPair>,
    certificate_pem: String,
    serial: u64,
}

/// The paths of the files with a server's certificate and key.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let mut authority = CertificateParams::new([]).expect("no names");
        authority.distinguished_name.push(DnType::CommonName, "portcullis test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(authority, key()).expect("a certificate"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A good certificate for [`SERVER_NAME`].
    pub fn server(&self) -> Identity {
        self.server_for(SERVER_NAME)
    }

    /// A good certificate for this name.
    pub fn server_for(&self, name: &str) -> Identity {
        let mut server = CertificateParams::new([name.to_owned()]).expect("a DNS name");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&server)
    }

    /// A good certificate of a client.
    pub fn client(&self) -> Identity {
        self.sign(&client())
    }

    /// A certificate of a client that was good once.
    pub fn expired_client(&self) -> Identity {
        let mut client = client();
        client.not_before = date_time_ymd(2019, 1, 1);
        client.not_after = date_time_ymd(2020, 1, 1);
        self.sign(&client)
    }

    /// The list of what it has revoked, in PEM.
    pub fn crl(&self, revoked: &[&Identity]) -> String {
        let revoked = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: SerialNumber::from(identity.serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2124, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).expect("a list").pem().expect("PEM")
    }

    fn sign(&self, certificate: &CertificateParams) -> Identity {
        static SERIAL: AtomicU64 = AtomicU64::new(1);

        let (key, serial) = (key(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let mut certificate = certificate.clone();
        certificate.serial_number = Some(SerialNumber::from(serial));
        let certificate = certificate.signed_by(&key, &self.0).expect("a certificate");
        Identity {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key: Arc::new(key),
            serial,
        }
    }

    /// The settings of a client that trusts this authority's servers.
    pub fn trusted_by(&self, client: Option<&Identity>, versions: Versions) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a certificate");
        let config =
            ClientConfig::builder_with_protocol_versions(versions.list()).with_root_certificates(roots);
        Arc::new(match client {
            None => config.with_no_client_auth(),
            Some(Identity { certificate, key, .. }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key that rcgen made");
                config.with_client_auth_cert(vec![certificate.clone()], key).expect("they belong together")
            }
        })
    }
}

impl Identity {
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Writes `NAME.crt` and `NAME.key` into the place.
    pub fn write(&self, place: &Place, name: &str) -> IdentityFiles {
        let files = IdentityFiles {
            certificate: place.path(format!("{name}.crt")),
            key: place.path(format!("{name}.key")),
        };
        fs::write(&files.certificate, &self.certificate_pem).expect("a file of ours");
        fs::write(&files.key, self.key_pem()).expect("a file of ours");
        files
    }
}

/// The versions of TLS that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    Both,
    Tls12,
    Tls13,
}

impl Versions {
    fn list(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

        match self {
            Self::Both => &BOTH,
            Self::Tls12 => &BOTH[..1],
            Self::Tls13 => &BOTH[1..],
        }
    }
}

fn client() -> CertificateParams {
    let mut client = CertificateParams::new([]).expect("no names");
    client.distinguished_name.push(DnType::CommonName, CLIENT_NAME);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    client
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
