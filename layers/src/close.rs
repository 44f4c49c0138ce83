//! Why a connection ended: the one place that classifies errors.
//!
//! The words here are the labels of the metrics and the words of the log. They are closed sets: what is
//! particular to one connection (an address, an error's text) goes to the log only.

use std::{error::Error, fmt, io};

use crate::{
    allowlist::AllowlistError,
    tls::{HandshakeError, HandshakeFailure},
    words::words,
};

/// How a connection ended, found by [`Ending::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// It was turned away before anything was served.
    Rejected(RejectReason),
    /// Its TLS handshake failed.
    HandshakeFailed(HandshakeFailure),
    /// It was served and is over.
    Closed(CloseReason),
}

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
    /// The service has no capacity ([`tower::load_shed`]).
    Overload,
}

/// Why a connection that was served is over.
///
/// It is an [`Error`] as well, so that a service or layer of your own can end a connection with the reason
/// that metrics and logs shall give: as the error itself, or as the source of a richer one.
///
/// ```
/// use portcullis_layers::{CloseReason, Ending};
///
/// // In a leaf of your own: `return Err(CloseReason::Idle.into())`.
/// let idle: Box<dyn std::error::Error + Send + Sync> = CloseReason::Idle.into();
/// assert_eq!(Ending::of(Err(&*idle)), Ending::Closed(CloseReason::Idle));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The service ended it, and all was well.
    Completed,
    /// The peer said that it was done. All may have been well, or it left in the middle of something and the service
    /// wanted more ([`UnexpectedEof`](io::ErrorKind::UnexpectedEof)): the stream does not know the difference.
    ClientEof,
    /// The peer broke it off (`ECONNRESET`, `EPIPE`, `ECONNABORTED`, `ENOTCONN`). In metrics, only where the
    /// connection's own stream failed or ended; of a stream of the service's own the same error is
    /// [`Service`](Self::Service).
    Reset,
    /// The peer closed the TCP connection without TLS's close_notify: what came may not be all (RFC 8446, 6.1).
    TlsTruncated,
    /// Nothing was sent in either direction for too long.
    Idle,
    /// It lasted as long as a connection may ([`tower::timeout`]).
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
    /// ([`WriteZero`](io::ErrorKind::WriteZero)), or a TLS record that was refused after the handshake. As for
    /// [`Reset`](Self::Reset), the connection's own in metrics.
    Io,
}

impl Ending {
    /// Classifies what the future of a connection resolved to, by walking the error's sources.
    ///
    /// `Ok` is [`CloseReason::Completed`]; a layer that watches the stream tells
    /// [`CloseReason::ClientEof`] apart. An error that nothing here knows is [`CloseReason::Service`].
    ///
    /// It sees the error and nothing else: an [`io::Error`] that says no more (a reset, an end that came too early, an
    /// error number) is taken for the connection's, though it may be that of a file or an upstream of the service.
    /// A layer that watches the stream tells these apart too, and so do the metrics of this crate.
    #[must_use]
    pub fn of(result: Result<(), &(dyn Error + 'static)>) -> Self {
        match result {
            Ok(()) => Self::Closed(CloseReason::Completed),
            Err(error) => match known(error) {
                Some(Known::Said(ending)) => ending,
                Some(Known::Io(reason)) => Self::Closed(reason),
                None => Self::Closed(CloseReason::Service),
            },
        }
    }

    /// As [`Ending::of`], for a connection whose stream is known to have neither failed nor ended: an error of input or
    /// output is then the service's own.
    pub(crate) fn of_a_sound_stream(result: Result<(), &(dyn Error + 'static)>) -> Self {
        match result.map_err(known) {
            Ok(()) => Self::Closed(CloseReason::Completed),
            Err(Some(Known::Said(ending))) => ending,
            Err(Some(Known::Io(_)) | None) => Self::Closed(CloseReason::Service),
        }
    }

    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected(reason) => reason.as_str(),
            Self::HandshakeFailed(failure) => failure.as_str(),
            Self::Closed(reason) => reason.as_str(),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an error says.
enum Known {
    /// How the connection ended.
    Said(Ending),
    /// How some stream failed, perhaps another one.
    Io(CloseReason),
}

/// What the first known error in the chain says.
fn known(error: &(dyn Error + 'static)) -> Option<Known> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(ending) = said(error) {
            return Some(Known::Said(ending));
        }
        if let Some(known) = error.downcast_ref().and_then(known_io) {
            return Some(known);
        }
        next = error.source();
    }
    None
}

fn said(error: &(dyn Error + 'static)) -> Option<Ending> {
    if error.is::<AllowlistError>() {
        return Some(Ending::Rejected(RejectReason::Address));
    }
    if let Some(error) = error.downcast_ref::<HandshakeError>() {
        return Some(Ending::HandshakeFailed(error.failure()));
    }
    if let Some(reason) = error.downcast_ref::<RejectReason>() {
        return Some(Ending::Rejected(*reason));
    }
    if let Some(reason) = error.downcast_ref::<CloseReason>() {
        return Some(Ending::Closed(*reason));
    }
    if error.is::<tower::load_shed::error::Overloaded>() {
        return Some(Ending::Rejected(RejectReason::Overload));
    }
    if error.is::<tower::timeout::error::Elapsed>() {
        return Some(Ending::Closed(CloseReason::Lifetime));
    }
    None
}

fn known_io(error: &io::Error) -> Option<Known> {
    // `io::Error::source` skips the error it carries and gives that one's source.
    if let Some(carried) = error.get_ref()
        && let Some(known) = known(carried)
    {
        return Some(known);
    }
    let reason = match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => CloseReason::Reset,
        // What `read_exact` and its kin say of a peer that was done too early.
        io::ErrorKind::UnexpectedEof => CloseReason::ClientEof,
        // What `write_all` says of a stream that takes nothing any more.
        io::ErrorKind::WriteZero => CloseReason::Io,
        _ if error.raw_os_error().is_some() => CloseReason::Io,
        // The record layer refused what the peer sent after the handshake.
        _ if error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<tokio_rustls::rustls::Error>) => {
            CloseReason::Io
        }
        _ => return None,
    };
    Some(Known::Io(reason))
}

words!(pub RejectReason {
    Address => "address",
    LimitTotal => "limit_total",
    LimitPeer => "limit_peer",
    Rate => "rate",
    Overload => "overload",
});

words!(pub CloseReason {
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

impl Error for RejectReason {}
impl Error for CloseReason {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped<E>(E);
    impl<E: fmt::Debug> fmt::Display for Wrapped<E> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }
    impl<E: Error + 'static> Error for Wrapped<E> {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn ending(error: &(dyn Error + 'static)) -> &'static str {
        Ending::of(Err(error)).as_str()
    }

    #[test]
    fn a_reset_is_found_below_other_errors() {
        assert_eq!(ending(&Wrapped(Wrapped(io::Error::from_raw_os_error(104)))), "reset");
        assert_eq!(ending(&io::Error::other(Wrapped(io::Error::from(io::ErrorKind::BrokenPipe)))), "reset");
    }

    #[test]
    fn a_reason_carried_by_an_io_error_is_found() {
        assert_eq!(ending(&io::Error::new(io::ErrorKind::ConnectionAborted, CloseReason::Killed)), "killed");
        assert_eq!(ending(&io::Error::other(Wrapped(RejectReason::Rate))), "rate");
    }

    #[test]
    fn what_nobody_knows_is_the_service() {
        assert_eq!(ending(&Wrapped(fmt::Error)), "service");
        assert_eq!(ending(&io::Error::other("no such record")), "service");
    }

    #[test]
    fn an_error_number_is_io() {
        assert_eq!(ending(&io::Error::from_raw_os_error(110)), "io");
    }
}
