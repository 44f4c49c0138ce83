//! Why a TLS handshake failed.

use std::{error::Error, fmt, io, time::Duration};

use tokio_rustls::rustls::{
    AlertDescription as Alert, CertificateError as Certificate, Error as Rustls, InvalidMessage,
    PeerMisbehaved, pki_types::CertificateDer,
};

use super::{
    ClientIdentity,
    observed_io::{ObservedIo, Opening},
};
use crate::outcome::{Explained, HandshakeFailure, Outcome};

/// A TLS handshake that failed. The service above never saw the connection.
///
/// ```
/// use portcullis_layers::tls::{HandshakeCause, HandshakeError};
///
/// fn tell(error: &HandshakeError) {
///     let (name, client) = (error.server_name(), error.client());
///     match error.cause() {
///         HandshakeCause::EofEmpty => {} // a health probe
///         HandshakeCause::Timeout { after, .. } => println!("too slow for {name:?}: {after:?}"),
///         cause => println!("{}: {cause}; it asked for {name:?} as {client:?}", error.failure()),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct HandshakeError {
    // A `HandshakeCause`, with its failure for who walks the sources.
    explained: Explained,
    seen: Seen,
}

/// What is known of a client by what it has sent.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) server_name: Option<Box<str>>,
    /// The client's certificate, if it was refused.
    pub(super) refused: Option<CertificateDer<'static>>,
}

/// How a handshake failed. Its message is the second half of a sentence that [`HandshakeError`]
/// begins.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeCause {
    /// It took too long, however far it had come.
    #[error("it was not complete after {after:?}")]
    #[non_exhaustive]
    Timeout {
        /// The time it was given.
        after: Duration,
    },

    /// The client closed or reset the connection before its first byte, as health probes and port
    /// scanners do.
    #[error("the client closed the connection before its first byte")]
    EofEmpty,

    /// The client closed the connection in the middle of the handshake.
    #[error("the client closed the connection in the middle")]
    Eof,

    /// rustls refused what the client sent, or the client refused what rustls sent.
    #[error("{failure}")]
    #[non_exhaustive]
    Tls {
        /// The kind of failure.
        failure: HandshakeFailure,
        /// What rustls says about it.
        source: Rustls,
    },

    /// The stream below failed.
    #[error("input or output failed")]
    Io(#[source] io::Error),
}

impl HandshakeError {
    pub(super) fn of(cause: HandshakeCause, seen: Seen) -> Self {
        let outcome = Outcome::HandshakeFailed(cause.failure());
        Self { explained: Explained::new(outcome, cause), seen }
    }

    /// Classifies what tokio-rustls says, knowing what came over the io.
    pub(super) fn new<C>(error: io::Error, io: &ObservedIo<C>, seen: Seen) -> Self {
        Self::of(HandshakeCause::new(error, io), seen)
    }

    /// How it failed.
    #[must_use]
    pub fn cause(&self) -> &HandshakeCause {
        self.explained.error().downcast_ref().expect("made of a cause")
    }

    /// The kind of failure: the label of the metric and the word of the log.
    #[must_use]
    pub fn failure(&self) -> HandshakeFailure {
        self.cause().failure()
    }

    /// The server name that the client requested (SNI, RFC 6066, 3), in lower case. `None` if it
    /// requested none or an invalid one, or if the handshake failed before. The client can send any
    /// name, so use it in logs, but not as a label of a metric.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.seen.server_name.as_deref()
    }

    /// The identity in the client's certificate, if this layer rejected the certificate. `None`
    /// with a verifier of your own, and if the client does not hold the private key. Parses the
    /// certificate.
    ///
    /// For logs. **It is not authenticated:** whether a configured CA has signed it depends on the
    /// [`failure`](Self::failure), and the client has not proved that it holds the private key.
    #[must_use]
    pub fn client(&self) -> Option<ClientIdentity> {
        self.seen.refused.as_ref().and_then(ClientIdentity::of)
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the TLS handshake failed")
    }
}

/// The cause is the source.
impl Error for HandshakeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.explained)
    }
}

impl HandshakeCause {
    const fn failure(&self) -> HandshakeFailure {
        match self {
            Self::Timeout { .. } => HandshakeFailure::Timeout,
            Self::EofEmpty => HandshakeFailure::EofEmpty,
            Self::Eof => HandshakeFailure::Eof,
            Self::Tls { failure, .. } => *failure,
            Self::Io(_) => HandshakeFailure::Io,
        }
    }

    fn new<C>(error: io::Error, io: &ObservedIo<C>) -> Self {
        let opening = io.opening();
        // Downcast in two steps, so that an error which is not rustls's stays as it is, with its
        // number.
        if error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<Rustls>) {
            return match error.downcast::<Rustls>() {
                Ok(source) => Self::Tls { failure: HandshakeFailure::of(&source, opening), source },
                Err(error) => Self::Io(error),
            };
        }
        match (error.kind(), opening) {
            (io::ErrorKind::UnexpectedEof, Opening::Empty) if io.ended() => Self::EofEmpty,
            // So end those probes that do not want their port to wait (HAProxy's).
            (io::ErrorKind::ConnectionReset, Opening::Empty) => Self::EofEmpty,
            (io::ErrorKind::UnexpectedEof, _) if io.ended() => Self::Eof,
            _ => Self::Io(error),
        }
    }
}

/// What rustls says, as text alone, when a certificate resolver finds nothing for the client.
const NOT_RESOLVED: &str = "no server certificate chain resolved";

/// There is no certificate for the server name that a client asks for: what rustls would say.
pub(super) fn unknown_name() -> Rustls {
    Rustls::General(NOT_RESOLVED.to_owned())
}

pub(super) fn is_unknown_name(error: &Rustls) -> bool {
    matches!(error, Rustls::General(text) if text == NOT_RESOLVED)
}

impl HandshakeFailure {
    /// What an error means that was found after the last message of the handshake.
    pub(super) fn of_session(error: &Rustls) -> Self {
        Self::of(error, Opening::Record)
    }

    fn of(error: &Rustls, opening: Opening) -> Self {
        match error {
            // After a first record that was TLS, a broken one is a broken protocol.
            Rustls::InvalidMessage(_) if opening == Opening::Other => Self::NotTls,
            Rustls::InvalidMessage(InvalidMessage::InvalidServerName) => Self::Sni,
            Rustls::PeerMisbehaved(
                PeerMisbehaved::ServerNameMustContainOneHostName | PeerMisbehaved::ServerNameDifferedOnRetry,
            ) => Self::Sni,
            error if is_unknown_name(error) => Self::Sni,
            // A ClientHello of TLS 1.1 lands here by several ways: by its version, by the lack of
            // an extension that came with TLS 1.2, or by its ciphers.
            Rustls::PeerIncompatible(_) => Self::Incompatible,
            Rustls::NoApplicationProtocol => Self::Alpn,
            Rustls::NoCertificatesPresented => Self::CertMissing,
            Rustls::InvalidCertificate(error) => Self::of_certificate(error),
            Rustls::InvalidCertRevocationList(_) => Self::CrlUnknown,
            Rustls::UnsupportedNameType => Self::CertOther,
            Rustls::AlertReceived(alert) => Self::of_alert(*alert),
            _ => Self::Protocol,
        }
    }

    const fn of_certificate(error: &Certificate) -> Self {
        match error {
            Certificate::Expired | Certificate::ExpiredContext { .. } => Self::CertExpired,
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => Self::CertNotYetValid,
            Certificate::UnknownIssuer => Self::CertUnknownCa,
            Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => Self::CertUsage,
            Certificate::Revoked => Self::CertRevoked,
            Certificate::UnknownRevocationStatus => Self::CrlUnknown,
            Certificate::ExpiredRevocationList | Certificate::ExpiredRevocationListContext { .. } => {
                Self::CrlExpired
            }
            Certificate::ApplicationVerificationFailure => Self::IdentityDenied,
            _ => Self::CertOther,
        }
    }

    /// What the client's alert says. Its complaints about *our* certificate are none of the `cert_`
    /// words, which are about the client's.
    const fn of_alert(alert: Alert) -> Self {
        match alert {
            Alert::CloseNotify | Alert::UserCanceled => Self::Eof,
            Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity => {
                Self::Incompatible
            }
            Alert::NoApplicationProtocol => Self::Alpn,
            Alert::UnrecognisedName => Self::Sni,
            _ => Self::Protocol,
        }
    }
}
