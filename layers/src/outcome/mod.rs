//! Why a connection ended: the one place that classifies errors.
//!
//! It does not depend on the layers. The error of a layer has its reason ([`RejectReason`],
//! [`HandshakeFailure`], [`CloseReason`]) among its sources. The reasons are labels of the metrics
//! and fields of the log. They are closed sets: data of a single connection (an address, the text
//! of an error) is only logged.

#[cfg(feature = "tls")]
mod explained;
mod reason;

use std::{error::Error, fmt, io};

#[cfg(feature = "tls")]
pub(crate) use explained::Explained;
pub use reason::{CloseReason, HandshakeFailure, RejectReason};

/// How a connection ended, found by [`Outcome::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was rejected before it was served.
    Rejected(RejectReason),
    /// Its TLS handshake failed.
    HandshakeFailed(HandshakeFailure),
    /// It was served and has finished.
    Closed(CloseReason),
}

impl Outcome {
    /// Classifies what the future of a connection resolved to, by walking the error's sources.
    ///
    /// `Ok` is [`CloseReason::Completed`]; a layer that watches the stream tells
    /// [`CloseReason::ClientEof`] apart. An unknown error is [`CloseReason::Service`].
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

    /// As [`Outcome::of`], for a connection whose stream is known to have neither failed nor ended: an error of input or
    /// output is then the service's own.
    #[cfg(feature = "metrics")]
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

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of an error.
enum Known {
    /// How the connection ended.
    Said(Outcome),
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

fn said(error: &(dyn Error + 'static)) -> Option<Outcome> {
    #[cfg(feature = "tls")]
    if let Some(explained) = error.downcast_ref::<Explained>() {
        return Some(explained.outcome());
    }
    if let Some(reason) = error.downcast_ref::<RejectReason>() {
        return Some(Outcome::Rejected(*reason));
    }
    if let Some(reason) = error.downcast_ref::<CloseReason>() {
        return Some(Outcome::Closed(*reason));
    }
    if let Some(failure) = error.downcast_ref::<HandshakeFailure>() {
        return Some(Outcome::HandshakeFailed(*failure));
    }
    #[cfg(feature = "tower")]
    if error.is::<tower::load_shed::error::Overloaded>() {
        return Some(Outcome::Rejected(RejectReason::Overload));
    }
    #[cfg(feature = "tower")]
    if error.is::<tower::timeout::error::Elapsed>() {
        return Some(Outcome::Closed(CloseReason::Lifetime));
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
        _ => return None,
    };
    Some(Known::Io(reason))
}

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
        Outcome::of(Err(error)).as_str()
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
