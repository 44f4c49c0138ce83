//! The handle of a listener in the registry of its generation.

use std::sync::Arc;

use crate::{
    bind::{AcceptedStream, Acceptor, ListenerRegistry},
    handoff::HandoffError,
    lifecycle::Lifecycle,
};

use super::Accepted;

/// See the module. Dropping it removes the listener from the registry.
#[derive(Debug)]
pub(crate) struct ListenerHandle {
    pub(crate) lifecycle: Arc<Lifecycle<HandoffError>>,
    pub(crate) registry: Arc<ListenerRegistry>,
    pub(crate) name: Arc<str>,
    pub(crate) acceptor: Arc<Acceptor>,
    /// The prefix of the names of metrics.
    pub(crate) metrics_prefix: Arc<str>,
    /// See [`GracefulListener::accept_while_draining`](super::GracefulListener::accept_while_draining).
    pub(crate) while_draining: bool,
}

impl ListenerHandle {
    /// Marks the listener as served.
    pub(super) fn set_served(&self) {
        self.registry.set_served(&self.name);
    }

    /// Closes the listener on purpose, without having served it.
    pub(super) fn close(&self) {
        self.registry.remove(&self.name, true);
    }

    pub(super) fn accepted(&self, (stream, peer): AcceptedStream) -> Accepted {
        Accepted::new(stream, peer, self.acceptor.specific_address(), self.lifecycle.drain())
    }
}

impl Drop for ListenerHandle {
    fn drop(&mut self) {
        let unserved = self.registry.remove(&self.name, false);
        self.lifecycle.listener_removed();
        if unserved {
            log!(
                warn,
                listener = &*self.name,
                "a listener was dropped without having been served: this generation is never ready"
            );
        }
    }
}
