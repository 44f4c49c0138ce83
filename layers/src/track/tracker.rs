//! The registry.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::{TrackedConnection, entry::Entry};
use crate::{address::Peer, close_signal::CloseSignal, drain::Drain, outcome::CloseReason};

/// The list of open connections, and the means to close them.
///
/// Give a clone to each [`TrackLayer`](super::TrackLayer) and keep one. All clones are the same list; several
/// listeners may share it, and several stacks.
///
/// A graceful shutdown, as an accept loop does it:
///
/// ```
/// use std::time::Duration;
/// use portcullis_layers::{CloseReason, track::Tracker};
///
/// async fn drain(tracker: &Tracker, patience: Duration) -> usize {
///     tracker.start_drain();
///     if tokio::time::timeout(patience, tracker.wait_idle()).await.is_ok() {
///         return 0;
///     }
///     let closed = tracker.close_all(CloseReason::DrainForced);
///     tracker.wait_idle().await;
///     closed
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() { assert_eq!(drain(&Tracker::new(), Duration::ZERO).await, 0); }
/// ```
#[derive(Clone, Default)]
pub struct Tracker {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    // Weak, so that an entry ends with its connection. Locked to open, to close and to look; not to read or write.
    open: Mutex<BTreeMap<u64, Weak<Entry>>>,
    last_id: AtomicU64,
    idle: Notify,
    drain: Arc<CloseSignal>,
}

impl Tracker {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open_connections().len()
    }

    /// Whether no connection is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The open connections, the oldest first (by id).
    ///
    /// The list is locked while the connections are collected, not while their numbers are read.
    #[must_use]
    pub fn connections(&self) -> Vec<TrackedConnection> {
        self.entries().iter().map(|entry| entry.snapshot()).collect()
    }

    /// Closes the connection with this id, for the reason [`CloseReason::Killed`].
    ///
    /// Returns at once; the connection is gone a moment later. What happens to it is what
    /// [`close_all`](Self::close_all) says. `false` if no connection with this id is open, or it was closed already.
    pub fn close(&self, id: u64) -> bool {
        let entry = self.open_connections().get(&id).and_then(Weak::upgrade);
        entry.is_some_and(|entry| entry.close.fire(CloseReason::Killed))
    }

    /// Closes all open connections, and returns their number. Those that were closed before keep
    /// their reason.
    ///
    /// Returns at once. Of each connection, the future of `call` is woken, drops what it
    /// holds and resolves to [`TrackError::Closed`](super::TrackError::Closed); if the stream was moved to another
    /// task, its reads and writes fail, also those that wait, with an
    /// [`io::Error`](std::io::Error) of the kind `ConnectionAborted` that carries the reason. The peer sees
    /// that the connection is closed when its stream is dropped. To wait for that, use [`wait_idle`](Self::wait_idle).
    pub fn close_all(&self, reason: CloseReason) -> usize {
        // Woken without the lock: whoever wakes may run at once and close its connection.
        self.entries().iter().filter(|entry| entry.close.fire(reason)).count()
    }

    /// The signal that [`start_drain`](Self::start_drain) fires. Every [`Tracked`](super::Tracked) stream
    /// combines it with the signal of the inner stream in its
    /// [`Connection::drain`](crate::Connection::drain).
    #[must_use]
    pub fn drain(&self) -> Drain {
        Drain::from(self.shared.drain.clone())
    }

    /// Signals every open and future connection to finish. This cannot be undone.
    pub fn start_drain(&self) {
        self.shared.drain.fire(CloseReason::Completed);
    }

    /// Waits until no connection is open; returns at once if none is.
    ///
    /// A connection is open until its stream is dropped, also where that was moved to another task. The sockets are closed by
    /// then. If new ones keep coming, this may wait for ever: stop accepting first.
    ///
    /// Cancel safe: nothing is lost when the future is dropped and made anew.
    pub async fn wait_idle(&self) {
        loop {
            // The race: looking first and then waiting would miss the last connection if it closes in
            // between, and wait for ever. A `Notified` hears of every `notify_waiters` from its creation, polled or not, so it
            // is made before the look.
            let closed = self.shared.idle.notified();
            if self.is_empty() {
                return;
            }
            closed.await;
        }
    }

    /// Enters a connection into the list.
    pub(super) fn opened(&self, listener: Option<Arc<str>>, peer: Peer) -> Arc<Entry> {
        let id = self.shared.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Arc::new(Entry::new(id, listener, peer, self.clone()));
        self.open_connections().insert(id, Arc::downgrade(&entry));
        entry
    }

    /// Strikes a connection off the list; called when its entry is dropped.
    pub(super) fn closed(&self, id: u64) {
        let idle = {
            let mut open = self.open_connections();
            open.remove(&id);
            open.is_empty()
        };
        if idle {
            self.shared.idle.notify_waiters();
        }
    }

    /// The entries of the open connections. To be dropped without the lock, for dropping the last reference to one takes it.
    fn entries(&self) -> Vec<Arc<Entry>> {
        let open = self.open_connections();
        // Reserved in one piece: growing step by step would hold the lock longer.
        let mut entries = Vec::with_capacity(open.len());
        entries.extend(open.values().filter_map(Weak::upgrade));
        entries
    }

    fn open_connections(&self) -> MutexGuard<'_, BTreeMap<u64, Weak<Entry>>> {
        // Nothing that holds the lock can panic halfway; a panic elsewhere leaves the list whole.
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker")
            .field("open", &self.len())
            .field("draining", &self.shared.drain.fired().is_some())
            .finish()
    }
}
