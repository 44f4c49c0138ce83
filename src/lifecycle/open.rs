//! The open listeners and connections.

use std::sync::Arc;

use portcullis_layers::{CloseReason, CloseSignal, Closed};
use tokio::sync::watch;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Listeners that stop at the same time, and the connections that they have accepted.
#[derive(Debug)]
pub(crate) struct Open {
    /// Listeners that are served and have not closed their socket.
    listeners: watch::Sender<usize>,
    connections: TaskTracker,
    /// Closes every connection at the deadline of a drain.
    forced: Arc<CloseSignal>,
}

impl Open {
    pub(crate) fn new() -> Self {
        Self { listeners: watch::Sender::new(0), connections: TaskTracker::new(), forced: Arc::default() }
    }

    /// Counts a listener that is served, until the guard is dropped.
    pub(crate) fn listener(&self) -> Counted {
        Counted::new(&self.listeners)
    }

    /// Counts a connection, until the token is dropped.
    pub(crate) fn connection(&self) -> TaskTrackerToken {
        self.connections.token()
    }

    /// Resolves when every connection has to close.
    pub(crate) fn forced(&self) -> Closed {
        self.forced.wait()
    }

    /// Connections that were accepted and have not finished.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Waits until all listeners have closed their sockets and all connections have finished.
    pub(crate) async fn finished(&self) {
        // In this order: a listener that is open may add connections.
        _ = self.listeners.subscribe().wait_for(|listeners| *listeners == 0).await;
        self.connections.close();
        self.connections.wait().await;
    }

    /// Closes every connection.
    pub(crate) fn force(&self) {
        self.forced.fire(CloseReason::DrainForced);
    }
}

/// Increments a count until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(watch::Sender<usize>);

impl Counted {
    pub(crate) fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
