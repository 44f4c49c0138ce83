//! Verifies the certificate of a client.

use std::sync::Arc;

use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use super::{
    super::{ClientIdentity, scope},
    IdentityRules,
};

/// Everything that decides whether a client's certificate is good: webpki with CAs and revocation
/// lists, then the identity rules.
///
/// One of webpki's errors is made clear: it says "bad signature" of a certificate whose issuer has
/// the *name* of a CA of ours but not its key, and of a client that does not hold the key of its
/// certificate. The first is a certificate of a CA that we do not know: two CAs of one name are
/// common, the defaults of a tool. It gets that name here, and the alert that goes with it, so that
/// the second can be told from it.
#[derive(Debug)]
pub(in super::super) struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    rules: Option<IdentityRules>,
}

impl ClientVerifier {
    pub(in super::super) fn new(webpki: Arc<dyn ClientCertVerifier>, rules: Option<IdentityRules>) -> Self {
        Self { webpki, rules }
    }

    /// Verifies a chain, the client's own certificate first: for one that was shown in an earlier
    /// handshake.
    pub(in super::super) fn verify_chain(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some((own, issuers)) = chain.split_first() else {
            return if self.client_auth_mandatory() { Err(Error::NoCertificatesPresented) } else { Ok(()) };
        };
        self.verify(own, issuers, now).map(drop)
    }

    fn verify(
        &self,
        own: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.webpki.verify_client_cert(own, issuers, now);
        let verified = verified.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::BadSignature) => {
                CertificateError::UnknownIssuer.into()
            }
            error => error,
        })?;
        self.allow(own)?;
        Ok(verified)
    }

    fn allow(&self, certificate: &CertificateDer<'_>) -> Result<(), CertificateError> {
        let Some(rules) = &self.rules else { return Ok(()) };
        let identity = ClientIdentity::of(certificate).ok_or(CertificateError::BadEncoding)?;
        if rules.allow(&identity) { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure) }
    }
}

impl ClientCertVerifier for ClientVerifier {
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
        self.verify(end_entity, intermediates, now).inspect_err(|_| scope::refuse(end_entity))
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
