//! The reasons for which a connection ends: plain enums that do not depend on the layers.

use std::error::Error;

use crate::label_enum::label_enum;

/// Why a connection was rejected.
///
/// It implements [`Error`]. A layer of your own can return it, or an error that has it as a source,
/// to set the reason in metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The peer's address is not allowed, or unknown: a bare socket that was reset early has no
    /// peer address.
    Address,
    /// The limit of all connections is reached.
    LimitTotal,
    /// The limit of connections of this peer is reached.
    LimitPeer,
    /// The rate limit is exceeded.
    Rate,
    /// The service has no capacity (`tower::load_shed`).
    Overload,
}

/// Why a connection that was served has ended.
///
/// It implements [`Error`]. A service or layer of your own can return it, or an error that has it
/// as a source, to set the reason in metrics and logs.
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
    /// The service finished without an error.
    Completed,
    /// The peer closed its side. This includes a peer that closed it while the service expected
    /// more ([`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof)): the stream cannot distinguish
    /// the two.
    ClientEof,
    /// The peer reset the connection (`ECONNRESET`, `EPIPE`, `ECONNABORTED`, `ENOTCONN`). In
    /// metrics, this reason requires that the stream of the connection failed or ended; the same
    /// error of another stream of the service is [`Service`](Self::Service).
    Reset,
    /// The peer closed the TCP connection without a close_notify alert: data may be truncated (RFC
    /// 8446, 6.1).
    TlsTruncated,
    /// The idle timeout expired.
    Idle,
    /// The maximum lifetime of a connection expired (`tower::timeout`).
    Lifetime,
    /// The peer received no bytes for too long.
    WriteStall,
    /// It was closed at the deadline of a drain.
    DrainForced,
    /// An operator closed it.
    Killed,
    /// The peer is no longer allowed.
    Revoked,
    /// The service failed or panicked. This includes I/O errors that are not errors of the
    /// connection, such as those of a file or an upstream.
    Service,
    /// Another I/O error: another error number of the socket, a stream that accepts no bytes
    /// ([`WriteZero`](std::io::ErrorKind::WriteZero)), or an invalid TLS record after the
    /// handshake. In metrics, it must be an error of the connection's own stream, as for
    /// [`Reset`](Self::Reset).
    Io,
}

/// Why a TLS handshake failed.
///
/// It implements [`Error`], so a TLS layer of your own can return it, as with [`CloseReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// The handshake timeout expired.
    Timeout,
    /// The client closed or reset the connection before its first byte.
    EofEmpty,
    /// The client closed the connection during the handshake, or sent close_notify or
    /// user_canceled.
    Eof,
    /// The first bytes are not a TLS record: plain HTTP, SSH, a PROXY header, SSL 2.
    NotTls,
    /// No version, cipher suite, group or signature scheme in common. This includes the client's
    /// alerts protocol_version, handshake_failure and insufficient_security.
    Incompatible,
    /// No application protocol in common (RFC 7301, 3.2).
    Alpn,
    /// The server name is invalid, or there is no certificate for it.
    Sni,
    /// The client sent no certificate, but one is required.
    CertMissing,
    /// The client's certificate, or one of its issuers, has expired.
    CertExpired,
    /// The client's certificate, or one of its issuers, is not yet valid.
    CertNotYetValid,
    /// The issuer of the client's certificate is unknown: it is not a configured CA.
    CertUnknownCa,
    /// The client's certificate is not valid for client authentication.
    CertUsage,
    /// The client's certificate was revoked, according to a CRL.
    CertRevoked,
    /// The client's certificate is invalid for another reason: it cannot be parsed, has an unknown
    /// critical extension, uses an unsupported algorithm, or the client does not hold its private
    /// key.
    CertOther,
    /// No CRL covers the client's certificate, but one is required.
    CrlUnknown,
    /// The CRL for the client's certificate has expired.
    CrlExpired,
    /// The certificate is valid, but its identity is not allowed: a verifier returned
    /// `ApplicationVerificationFailure`.
    IdentityDenied,
    /// One side violated the TLS protocol, or the client sent another fatal alert, for example
    /// because it does not trust the server certificate. The source of the error shows which.
    Protocol,
    /// The inner stream failed, for example by a reset after the first byte.
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
