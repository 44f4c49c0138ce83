//! Whether a client must show a certificate, and whose.

use std::{path::PathBuf, sync::Arc};

use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{TlsConfigError, pem::Pem};

/// Whether a client is asked for a certificate.
///
/// What is checked, where one is given: that it chains to one of the [`ClientRoots`] (and to no CA of the
/// system), that it and the intermediates are within their dates, that it may be used for client
/// authentication, and that the client holds its key. By webpki, in the handshake; a certificate that fails
/// any of this ends the handshake, in both modes.
///
/// What is not: revocation, and whom the certificate names. See
/// [`TlsSession::client_certificates`](super::TlsSession::client_certificates) for judging that yourself.
///
/// Where certificates are asked for, sessions are not resumed: a resumption would skip all of the above.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ClientAuth {
    /// No certificate is asked for.
    #[default]
    Off,
    /// A certificate is asked for; a client may come without. One that is given must be good.
    Optional(ClientRoots),
    /// A client without a good certificate is turned away.
    Required(ClientRoots),
}

/// The CA certificates that vouch for clients.
///
/// They are read when the layer is built. Each is trusted as it stands: its own dates are not
/// looked at, nor whether it is a CA at all. So list no certificate whose holder you do not trust to issue others.
#[derive(Clone, Debug)]
pub struct ClientRoots {
    sources: Vec<Pem>,
}

impl ClientRoots {
    /// All certificates of a PEM file.
    #[must_use]
    pub fn from_pem_file(path: impl Into<PathBuf>) -> Self {
        Self::from_pem_files([path])
    }

    /// All certificates of several PEM files, each of which must have one.
    #[must_use]
    pub fn from_pem_files<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self { sources: paths.into_iter().map(|path| Pem::File(path.into())).collect() }
    }

    /// All certificates of a PEM text.
    #[must_use]
    pub fn from_pem(text: impl Into<Vec<u8>>) -> Self {
        Self { sources: vec![Pem::Bytes(text.into())] }
    }

    fn read(&self) -> Result<RootCertStore, TlsConfigError> {
        let mut roots = RootCertStore::empty();
        for pem in &self.sources {
            for (index, certificate) in pem.certificates()?.into_iter().enumerate() {
                roots.add(certificate).map_err(|source| TlsConfigError::UnusableCertificate {
                    from: pem.source(),
                    number: index + 1,
                    source,
                })?;
            }
        }
        Ok(roots)
    }
}

impl ClientAuth {
    /// The verifier for it, or `None` where no certificate is asked for.
    pub(super) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsConfigError> {
        let (roots, required) = match self {
            Self::Off => return Ok(None),
            Self::Optional(roots) => (roots, false),
            Self::Required(roots) => (roots, true),
        };
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots.read()?), Arc::clone(provider));
        let builder = if required { builder } else { builder.allow_unauthenticated() };
        let webpki = builder.build().map_err(|error| match error {
            VerifierBuilderError::NoRootAnchors => TlsConfigError::NoClientRoots,
            error => TlsConfigError::Rustls(Error::General(error.to_string())),
        })?;
        Ok(Some(Arc::new(ChainVerifier { webpki })))
    }
}

/// webpki's verifier, with one of its errors made clear.
///
/// webpki says "bad signature" of a certificate whose issuer has the *name* of a CA of ours but not its key,
/// and of a client that does not hold the key of its certificate. The first is a certificate of a CA that we
/// do not know: two CAs of one name are common, the defaults of a tool. It gets that name here, and the alert
/// that goes with it, so that the second can be told from it.
#[derive(Debug)]
struct ChainVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for ChainVerifier {
    fn offer_client_auth(&self) -> bool {
        self.webpki.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.webpki.verify_client_cert(end_entity, intermediates, now).map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::BadSignature) => {
                CertificateError::UnknownIssuer.into()
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.webpki.requires_raw_public_keys()
    }
}
