//! The error of the layer.

use crate::outcome::CloseReason;

/// Why the future of [`Track`](super::Track) ended before the service was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// Somebody ended the connection: [`Tracker::end`](super::Tracker::end) or
    /// [`Tracker::end_all`](super::Tracker::end_all). The reason is the error's source.
    #[error("the connection was ended from outside")]
    Ended(#[source] CloseReason),
}
