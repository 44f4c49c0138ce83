//! The error of the layer.

use crate::outcome::CloseReason;

/// Why the future of [`Track`](super::Track) ended before the service was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// The connection was closed by [`Tracker::close`](super::Tracker::close) or
    /// [`Tracker::close_all`](super::Tracker::close_all). The reason is the error's source.
    #[error("the connection was closed from outside")]
    Closed(#[source] CloseReason),
}
