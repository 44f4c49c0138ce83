//! The reasons for which a connection ends: plain data, known by no layer in particular.

use std::error::Error;

use crate::label_enum::label_enum;

/// Why a connection was turned away.
///
/// It is an [`Error`] as well, so that a layer of your own can end a connection with the reason that metrics
/// and logs shall give: as the error itself, or as the source of a richer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The peer's address is not allowed. Also a peer whose address nobody can say: a bare socket that was reset
    /// before it was asked for it, for one.
    Address,
    /// There are as many connections as there may be.
    LimitTotal,
    /// The peer has as many connections as it may have.
    LimitPeer,
    /// Connections come faster than they may.
    Rate,
    /// The service has no capacity (`tower::load_shed`).
    Overload,
}

/// Why a connection that was served is over.
///
/// It is an [`Error`] as well, so that a service or layer of your own can end a connection with the reason
/// that metrics and logs shall give: as the error itself, or as the source of a richer one.
///
/// ```
/// use portcullis_layers::{CloseReason, Outcome};
///
/// // In a leaf of your own: `return Err(CloseReason::Idle.into())`.
/// let idle: Box<dyn std::error::Error + Send + Sync> = CloseReason::Idle.into();
/// assert_eq!(Outcome::of(Err(&*idle)), Outcome::Closed(CloseReason::Idle));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The service ended it, and all was well.
    Completed,
    /// The peer said that it was done. All may have been well, or it left in the middle of something and the service
    /// wanted more ([`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof)): the stream does not know the difference.
    ClientEof,
    /// The peer broke it off (`ECONNRESET`, `EPIPE`, `ECONNABORTED`, `ENOTCONN`). In metrics, only where the
    /// connection's own stream failed or ended; of a stream of the service's own the same error is
    /// [`Service`](Self::Service).
    Reset,
    /// The peer closed the TCP connection without TLS's close_notify: what came may not be all (RFC 8446, 6.1).
    TlsTruncated,
    /// Nothing was sent in either direction for too long.
    Idle,
    /// It lasted as long as a connection may (`tower::timeout`).
    Lifetime,
    /// The peer took no bytes for too long.
    WriteStall,
    /// The deadline of a drain ended it.
    DrainForced,
    /// An operator ended it.
    Killed,
    /// What admitted the peer was taken back.
    Revoked,
    /// The service failed, or panicked; also by an error of input or output that was not the connection's, such as
    /// that of a file, or of an upstream that refused.
    Service,
    /// Another error of input or output: an error number of the socket, a stream that takes nothing any more
    /// ([`WriteZero`](std::io::ErrorKind::WriteZero)), or a TLS record that was refused after the handshake. As for
    /// [`Reset`](Self::Reset), the connection's own in metrics.
    Io,
}

/// Why a TLS handshake failed.
///
/// It is an [`Error`] as well, so that a TLS layer of your own can end a connection with it, as [`CloseReason`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// Not complete in time.
    Timeout,
    /// The client closed or reset the connection before its first byte.
    EofEmpty,
    /// The client went away in the middle: it closed, or said close_notify or user_canceled.
    Eof,
    /// What came first is no TLS record: plain HTTP, SSH, a PROXY header, SSL 2.
    NotTls,
    /// No version, cipher, group or signature in common; also where it is the client that says so, by the
    /// alert protocol_version, handshake_failure or insufficient_security.
    Incompatible,
    /// No application protocol in common (RFC 7301, 3.2).
    Alpn,
    /// The server name is invalid, or there is no certificate for it.
    Sni,
    /// The client gave no certificate where one is required.
    CertMissing,
    /// The client's certificate, or one of its issuers, is past its end.
    CertExpired,
    /// The client's certificate, or one of its issuers, has not begun yet.
    CertNotYetValid,
    /// No CA of ours vouches for the client's certificate.
    CertUnknownCa,
    /// The client's certificate is not meant for client authentication.
    CertUsage,
    /// The client's certificate was revoked. Found by a verifier with revocation lists.
    CertRevoked,
    /// The client's certificate is refused for another reason: unreadable, a critical extension nobody
    /// understands, an algorithm that is not supported, or the client does not hold its key.
    CertOther,
    /// No revocation list says anything about the client's certificate, where one must.
    CrlUnknown,
    /// The revocation list for the client's certificate is out of date.
    CrlExpired,
    /// The certificate is good, and whom it names is not allowed: a verifier said
    /// `ApplicationVerificationFailure`.
    IdentityDenied,
    /// One side broke the rules of TLS, or the client sent a fatal alert that is not named above, as it does
    /// when it does not trust our certificate. Which of the two it was is in the error's source.
    Protocol,
    /// The stream below failed; a reset after the first byte is found here too.
    Io,
}

label_enum!(pub RejectReason {
    Address => "address",
    LimitTotal => "limit_total",
    LimitPeer => "limit_peer",
    Rate => "rate",
    Overload => "overload",
});

label_enum!(pub CloseReason {
    Completed => "completed",
    ClientEof => "client_eof",
    Reset => "reset",
    TlsTruncated => "tls_truncated",
    Idle => "idle",
    Lifetime => "lifetime",
    WriteStall => "write_stall",
    DrainForced => "drain_forced",
    Killed => "killed",
    Revoked => "revoked",
    Service => "service",
    Io => "io",
});

label_enum!(pub HandshakeFailure {
    Timeout => "timeout",
    EofEmpty => "eof_empty",
    Eof => "eof",
    NotTls => "not_tls",
    Incompatible => "incompatible",
    Alpn => "alpn",
    Sni => "sni",
    CertMissing => "cert_missing",
    CertExpired => "cert_expired",
    CertNotYetValid => "cert_not_yet_valid",
    CertUnknownCa => "cert_unknown_ca",
    CertUsage => "cert_usage",
    CertRevoked => "cert_revoked",
    CertOther => "cert_other",
    CrlUnknown => "crl_unknown",
    CrlExpired => "crl_expired",
    IdentityDenied => "identity_denied",
    Protocol => "protocol",
    Io => "io",
});

impl Error for RejectReason {}
impl Error for CloseReason {}
impl Error for HandshakeFailure {}
