//! The layer.

use std::sync::Arc;

use tower_layer::Layer;

use super::{Track, Tracker};

/// Enters every connection into a [`Tracker`], and hands it on as [`Tracked<C>`](super::Tracked).
///
/// ```
/// use portcullis_layers::track::{TrackLayer, Tracker};
///
/// let tracker = Tracker::new();
/// let public = TrackLayer::new(tracker.clone()).listener("public");
/// let internal = TrackLayer::new(tracker.clone()).listener("internal");
/// # let _ = (public, internal);
/// ```
#[derive(Clone, Debug)]
pub struct TrackLayer {
    tracker: Tracker,
    listener: Option<Arc<str>>,
}

impl TrackLayer {
    /// Enters connections into this tracker, without the name of a listener.
    #[must_use]
    pub const fn new(tracker: Tracker) -> Self {
        Self { tracker, listener: None }
    }

    /// The name of the listener that the connections come from, to tell them apart in the list.
    #[must_use]
    pub fn listener(mut self, name: impl Into<Arc<str>>) -> Self {
        self.listener = Some(name.into());
        self
    }
}

impl<S> Layer<S> for TrackLayer {
    type Service = Track<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Track::new(inner, self.tracker.clone(), self.listener.clone())
    }
}
