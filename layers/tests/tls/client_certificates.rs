//! T6: whose certificate is accepted, and what the others are told. On TLS 1.2 and 1.3.

use std::sync::Arc;

use portcullis_layers::{
    BoxError,
    tls::{
        ClientAuth, ClientRoots, HandshakeFailure, TlsLayer, TlsStream,
        rustls::{
            self, AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig,
            SignatureScheme, SupportedProtocolVersion,
            client::danger::HandshakeSignatureValid,
            crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
            pki_types::{CertificateDer, PrivateKeyDer, UnixTime},
            server::danger::{ClientCertVerified, ClientCertVerifier},
            version::TLS13,
        },
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, service_fn};

use crate::{
    certificates::{Authority, Pair},
    crypto::{default_provider, sign},
    ends::{VERSIONS, alert_to, client, connect, refused, serve, server, tcp},
    visits::turned_away,
    within::within,
};

type Auth = fn(ClientRoots) -> ClientAuth;
const MODES: [Auth; 2] = [ClientAuth::Optional, ClientAuth::Required];

/// Why a client with this certificate is refused, and the alert it gets.
async fn refusal(
    authority: &Authority,
    auth: Auth,
    version: &'static SupportedProtocolVersion,
    certificate: Option<&Pair>,
) -> (HandshakeFailure, AlertDescription) {
    let layer =
        server(authority).client_auth(auth(ClientRoots::from_pem(authority.pem.clone()))).build().unwrap();
    turned_away(&layer, &Arc::new(client(authority, version, certificate))).await
}

/// Serves a client with this certificate and returns how many certificates the service saw.
async fn seen(
    authority: &Authority,
    auth: ClientAuth,
    version: &'static SupportedProtocolVersion,
    certificate: Option<&Pair>,
) -> Option<Vec<CertificateDer<'static>>> {
    let layer = server(authority).client_auth(auth).build().unwrap();
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let stack = layer.layer(service_fn(move |mut stream: TlsStream<TcpStream>| {
        let tell = tell.clone();
        async move {
            let certificates = stream.client_certificates().map(<[_]>::to_vec);
            tell.send(certificates).await?;
            stream.shutdown().await?;
            Ok::<(), BoxError>(())
        }
    }));
    let (io, accepted) = tcp().await;
    let served = serve(stack, accepted);
    let mut client = connect(&Arc::new(client(authority, version, certificate)), io).await.unwrap();
    within(client.read_to_end(&mut Vec::new())).await.unwrap();
    within(served).await.unwrap().unwrap();
    told.recv().await.unwrap()
}

#[tokio::test]
async fn a_good_certificate_is_seen_by_the_service() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    for version in VERSIONS {
        for mode in MODES {
            let auth = mode(ClientRoots::from_pem(authority.pem.clone()));
            assert_eq!(seen(&authority, auth, version, Some(&alice)).await, Some(vec![alice.der.clone()]));
        }
    }
}

#[tokio::test]
async fn where_it_is_optional_a_client_may_come_without() {
    let authority = Authority::new("a CA");
    for version in VERSIONS {
        let auth = ClientAuth::Optional(ClientRoots::from_pem(authority.pem.clone()));
        assert_eq!(seen(&authority, auth, version, None).await, None);
    }
}

#[tokio::test]
async fn a_certificate_nobody_asked_for_is_not_seen() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    for version in VERSIONS {
        assert_eq!(seen(&authority, ClientAuth::Off, version, Some(&alice)).await, None);
    }
}

#[tokio::test]
async fn where_it_is_required_a_client_without_is_refused() {
    let authority = Authority::new("a CA");
    for version in VERSIONS {
        let (failure, _) = refusal(&authority, ClientAuth::Required, version, None).await;
        assert_eq!(failure, HandshakeFailure::CertMissing);
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new("a CA");
    let client = authority.expired_client();
    for version in VERSIONS {
        for mode in MODES {
            assert_eq!(
                refusal(&authority, mode, version, Some(&client)).await,
                (HandshakeFailure::CertExpired, AlertDescription::CertificateExpired)
            );
        }
    }
}

#[tokio::test]
async fn a_certificate_that_has_not_begun_is_refused() {
    let authority = Authority::new("a CA");
    let client = authority.not_yet_valid_client();
    for version in VERSIONS {
        for mode in MODES {
            let (failure, _) = refusal(&authority, mode, version, Some(&client)).await;
            assert_eq!(failure, HandshakeFailure::CertNotYetValid);
        }
    }
}

#[tokio::test]
async fn a_certificate_for_servers_is_refused() {
    let authority = Authority::new("a CA");
    let client = authority.wrong_usage_client();
    for version in VERSIONS {
        for mode in MODES {
            let (failure, _) = refusal(&authority, mode, version, Some(&client)).await;
            assert_eq!(failure, HandshakeFailure::CertUsage);
        }
    }
}

/// Also when the other CA has the name of ours: a name is no proof.
#[tokio::test]
async fn a_certificate_of_another_ca_is_refused() {
    let authority = Authority::new("a CA");
    for other in ["another CA", "a CA"] {
        let mallory = Authority::new(other).client();
        for version in VERSIONS {
            for mode in MODES {
                assert_eq!(
                    refusal(&authority, mode, version, Some(&mallory)).await,
                    (HandshakeFailure::CertUnknownCa, AlertDescription::UnknownCA)
                );
            }
        }
    }
}

/// Somebody else's certificate is worth nothing without its key, and does not look like another CA's.
#[tokio::test]
async fn a_stolen_certificate_is_refused() {
    let authority = Authority::new("a CA");
    let (alice, mallory) = (authority.client(), authority.client());
    for version in VERSIONS {
        let layer = server(&authority)
            .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
            .build()
            .unwrap();
        let mut config = client(&authority, version, None);
        config.client_auth_cert_resolver = Arc::new(Stolen::new(&alice.der, &mallory.key));
        let (io, accepted) = tcp().await;
        let config = Arc::new(config);
        let talk = async { alert_to(connect(&config, io).await).await };
        let (error, _) = tokio::join!(refused(&layer, accepted), talk);
        assert_eq!(error.failure(), HandshakeFailure::CertOther);
        assert_eq!(error.client(), None, "it is not alice");
    }
}

/// A TLS 1.3 client that writes before it knows that it was refused can go on, and finds the alert when it reads:
/// no reset comes in between.
#[tokio::test]
async fn a_client_that_writes_first_still_gets_its_alert() {
    let authority = Authority::new("a CA");
    let layer = server(&authority)
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
        .build()
        .unwrap();
    let config = Arc::new(client(&authority, &TLS13, None));
    for _ in 0..20 {
        let (io, accepted) = tcp().await;
        let talk = async {
            let mut stream = connect(&config, io).await.unwrap();
            within(stream.get_ref().0.readable()).await.unwrap();
            for _ in 0..8 {
                stream.write_all(&[b'x'; 4096]).await.expect("a reset");
                stream.flush().await.expect("a reset");
            }
            alert_to(Ok(stream)).await
        };
        let (error, alert) = tokio::join!(refused(&layer, accepted), talk);
        assert_eq!(error.failure(), HandshakeFailure::CertMissing);
        assert_eq!(alert, AlertDescription::CertificateRequired);
    }
}

/// What a verifier of the user's own says is told apart.
#[tokio::test]
async fn a_verifier_of_ones_own_has_its_words() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    let verdicts = [
        (CertificateError::ApplicationVerificationFailure, HandshakeFailure::IdentityDenied),
        (CertificateError::Revoked, HandshakeFailure::CertRevoked),
        (CertificateError::UnknownRevocationStatus, HandshakeFailure::CrlUnknown),
        (CertificateError::ExpiredRevocationList, HandshakeFailure::CrlExpired),
        (CertificateError::UnhandledCriticalExtension, HandshakeFailure::CertOther),
    ];
    for (verdict, word) in verdicts {
        for version in VERSIONS {
            let pair = authority.server();
            let provider = Arc::new(default_provider());
            let verifier = Verdict(verdict.clone(), provider.signature_verification_algorithms);
            let config = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&VERSIONS)
                .unwrap()
                .with_client_cert_verifier(Arc::new(verifier))
                .with_single_cert(vec![pair.der], pair.key)
                .unwrap();
            let layer = TlsLayer::from_config(Arc::new(config));
            let config = Arc::new(client(&authority, version, Some(&alice)));
            assert_eq!(turned_away(&layer, &config).await.0, word);
        }
    }
}

/// A client with a certificate and another one's key.
#[derive(Debug)]
struct Stolen(Arc<rustls::sign::CertifiedKey>);

impl Stolen {
    fn new(certificate: &CertificateDer<'static>, key: &PrivateKeyDer<'static>) -> Self {
        let key = sign::any_supported_type(key).unwrap();
        Self(Arc::new(rustls::sign::CertifiedKey::new(vec![certificate.clone()], key)))
    }
}

impl rustls::client::ResolvesClientCert for Stolen {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A verifier with one answer.
#[derive(Debug)]
struct Verdict(CertificateError, WebPkiSupportedAlgorithms);

impl ClientCertVerifier for Verdict {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Err(self.0.clone().into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.1)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.1)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.1.supported_schemes()
    }
}
