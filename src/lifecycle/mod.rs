//! The lifecycle of a generation: the state machine, and the part that its listeners observe.
//!
//! [`Machine`] is the state machine. [`Lifecycle`] is what listeners observe: the [`Phase`], the
//! signals to drain and to close, and the counts of open listeners and connections. The task of the
//! generation updates it.

mod commit;
mod machine;
#[cfg(test)]
mod model;
mod open;
mod phase;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use portcullis_layers::{CloseReason, Drain, track::Tracker};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use commit::look_behind;
pub(crate) use machine::{Effect, Event, Machine, State};
pub(crate) use open::{Counted, Open};
pub use phase::Phase;

/// The lifecycle of this process, as its listeners observe it. `E` is the error if it does not
/// serve.
#[derive(Debug)]
pub(crate) struct Lifecycle<E> {
    tracker: Tracker,
    phase: watch::Sender<Phase>,
    drain_requested: CancellationToken,
    /// Accept loops that accept.
    accepting: watch::Sender<usize>,
    /// The listeners that a drain stops, and their connections.
    open: Open,
    /// The listeners that accept during a drain, and their connections.
    open_while_draining: Open,
    /// Set when the connections of `open` have finished: how many were closed at the deadline.
    drained: watch::Sender<Option<usize>>,
    /// No other process uses the sockets.
    last: AtomicBool,
    exit: watch::Sender<Option<Exit<E>>>,
}

/// How the lifecycle ended.
#[derive(Debug)]
pub(crate) enum Exit<E> {
    /// It drained; `forced` connections were closed at the deadline.
    Drained { forced: usize },
    /// This process does not serve.
    Failed(Arc<E>),
    /// The task of the generation has panicked.
    Panicked,
}

// By hand: `E` need not be `Clone`.
impl<E> Clone for Exit<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Drained { forced } => Self::Drained { forced: *forced },
            Self::Failed(error) => Self::Failed(error.clone()),
            Self::Panicked => Self::Panicked,
        }
    }
}

impl<E> Lifecycle<E> {
    pub(crate) fn new() -> Self {
        Self {
            tracker: Tracker::new(),
            phase: watch::Sender::new(Phase::Starting),
            drain_requested: CancellationToken::new(),
            accepting: watch::Sender::new(0),
            open: Open::new(),
            open_while_draining: Open::new(),
            drained: watch::Sender::new(None),
            last: AtomicBool::new(false),
            exit: watch::Sender::new(None),
        }
    }

    pub(crate) const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// The signal that asks connections to finish.
    pub(crate) fn drain(&self) -> Drain {
        self.tracker.drain()
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.send_if_modified(|now| std::mem::replace(now, phase) != phase);
    }

    pub(crate) fn request_drain(&self) {
        self.drain_requested.cancel();
    }

    /// Waits until a drain is requested.
    pub(crate) async fn drain_requested(&self) {
        self.drain_requested.cancelled().await;
    }

    /// Counts an accept loop that accepts, until the guard is dropped.
    pub(crate) fn accepting(&self) -> Counted {
        Counted::new(&self.accepting)
    }

    /// Waits until the number of accept loops that accept is as wanted.
    pub(crate) async fn accept_loops(&self, wanted: impl Fn(usize) -> bool) {
        _ = self.accepting.subscribe().wait_for(|accepting| wanted(*accepting)).await;
    }

    /// A listener is gone: what waits for accept loops may have waited for its loop.
    pub(crate) fn listener_removed(&self) {
        self.accepting.send_modify(|_| {});
    }

    /// The listeners that a drain stops and their connections, or those that accept during a drain.
    pub(crate) const fn open(&self, while_draining: bool) -> &Open {
        if while_draining { &self.open_while_draining } else { &self.open }
    }

    /// Waits until every connection that is drained has finished, also if its stream was moved
    /// elsewhere.
    pub(crate) async fn connections_finished(&self) {
        self.open.finished().await;
        self.tracker.wait_idle().await;
    }

    /// Closes every connection that is drained, and returns how many there were.
    pub(crate) fn force_connections(&self) -> usize {
        // A stream that its service moved elsewhere is tracked but has no task; an untracked
        // connection has only a task.
        let open = self.open.connections().max(self.tracker.len());
        self.tracker.close_all(CloseReason::DrainForced);
        self.open.force();
        open
    }

    /// Sets that the connections have finished, and how many were closed at the deadline.
    pub(crate) fn set_drained(&self, forced: usize) {
        self.drained.send_replace(Some(forced));
    }

    /// Waits until the connections that are drained have finished. Returns how many were closed at
    /// the deadline.
    pub(crate) async fn drained(&self) -> usize {
        // An error would mean that the sender was dropped, but `self` holds it.
        let mut drained = self.drained.subscribe();
        drained.wait_for(Option::is_some).await.ok().and_then(|forced| *forced).unwrap_or_default()
    }

    /// Whether the connections that are drained have finished.
    #[cfg(feature = "control")]
    pub(crate) fn is_drained(&self) -> bool {
        self.drained.borrow().is_some()
    }

    /// No other process uses the sockets. Set before [`Phase::Draining`] is entered.
    pub(crate) fn set_last(&self) {
        self.last.store(true, Ordering::Release);
    }

    /// Whether the sockets are closed with this process. The connections in their queues are then
    /// served, and Unix paths are removed.
    pub(crate) fn is_last(&self) -> bool {
        self.last.load(Ordering::Acquire)
    }

    pub(crate) fn set_exit(&self, exit: Exit<E>) {
        self.exit.send_replace(Some(exit));
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// Waits until the lifecycle has ended.
    pub(crate) async fn exit(&self) -> Exit<E> {
        let mut changes = self.exit.subscribe();
        loop {
            if let Some(exit) = &*changes.borrow_and_update() {
                return exit.clone();
            }
            // An error would mean that the sender was dropped, but `self` holds it.
            _ = changes.changed().await;
        }
    }
}
