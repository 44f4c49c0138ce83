use std::{io, time::Duration};

use portcullis_layers::CloseReason;

/// How serving HTTP on a connection failed.
///
/// What it means for the metrics is found in the sources, by
/// [`Outcome::of`](portcullis_layers::Outcome::of).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// No complete request head came in time: neither a first one nor, on a kept-alive connection,
    /// the next. For slow clients, raise
    /// [`header_timeout`](super::HttpLeaf::header_timeout).
    #[error("no complete request head came within {timeout:?}")]
    #[non_exhaustive]
    HeaderTimeout {
        /// How long the peer had.
        timeout: Duration,
        /// [`CloseReason::Idle`].
        source: CloseReason,
    },

    /// The peer closed the connection in the middle of a request.
    #[error("the peer closed the connection in the middle of a request")]
    #[non_exhaustive]
    Incomplete {
        /// [`CloseReason::ClientEof`].
        source: CloseReason,
    },

    /// The stream failed before the first request.
    #[error("reading the first bytes of an HTTP connection failed")]
    Io(#[source] io::Error),

    /// hyper ended the connection: the peer broke the protocol, the stream failed, or a response's
    /// body did.
    #[error("the HTTP connection failed")]
    Hyper(#[source] hyper::Error),
}

impl HttpError {
    pub(super) const fn header_timeout(timeout: Duration) -> Self {
        Self::HeaderTimeout { timeout, source: CloseReason::Idle }
    }

    pub(super) fn from_hyper(error: hyper::Error, header_timeout: Duration) -> Self {
        if error.is_timeout() {
            Self::header_timeout(header_timeout)
        } else if error.is_incomplete_message() {
            Self::Incomplete { source: CloseReason::ClientEof }
        } else {
            Self::Hyper(error)
        }
    }
}
