//! TLS for both servers and the client: TLS 1.3. A client that resumes sessions has to ask for it.

use std::sync::Arc;

use portcullis::layers::{
    BoxError,
    tls::{TlsLayer, TlsVersion},
};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    version::TLS13,
};

/// What the servers and the client need to speak TLS with each other.
pub(crate) struct Tls {
    pub(crate) layer: TlsLayer,
    pub(crate) client: Arc<ClientConfig>,
}

impl Tls {
    /// A certificate for localhost with an ECDSA key on P-256, made anew.
    pub(crate) fn new() -> Result<Self, BoxError> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let layer = TlsLayer::builder()
            .certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
            .min_version(TlsVersion::V1_3)
            .build()?;

        Ok(Self { layer, client: Arc::new(client_config(None)?) })
    }
}

/// A client that believes every server, resumes nothing, and has this certificate.
pub(crate) fn client_config(
    own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> Result<ClientConfig, BoxError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous { schemes }));
    let mut client = match own {
        Some((certificate, key)) => client.with_client_auth_cert(vec![certificate], key)?,
        None => client.with_no_client_auth(),
    };
    client.resumption = Resumption::disabled();
    Ok(client)
}

/// Believes everything: verifying takes longer than signing, and the client would hold up the server.
#[derive(Debug)]
struct Credulous {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
