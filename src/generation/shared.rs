//! What the handle, the listeners and the life of a generation share.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use portcullis_layers::{CloseReason, track::Tracker};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::{
    Restarted,
    forced::{Forced, ForcedBegun},
    roster::Roster,
};
use crate::{
    HandoffError, RestartError,
    chain::Chain,
    phase::Phase,
    pid_file::{PidFile, PidFileError},
};

/// Somebody asks for a restart and waits for its outcome.
pub(super) type RestartRequest = oneshot::Sender<Result<Restarted, RestartError>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) number: u64,
    pub(super) metrics_prefix: String,
    pub(super) tracker: Tracker,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) restarts: mpsc::Sender<RestartRequest>,
    /// Somebody asked for a drain.
    pub(super) drain_requested: CancellationToken,
    pub(super) pid_file: Mutex<Option<PidFile>>,
    roster: Mutex<Roster>,
    /// Whether the roster is ready.
    ready: watch::Sender<bool>,
    /// Accept loops that accept, and those that have not closed their socket yet.
    accepting: watch::Sender<usize>,
    serving: watch::Sender<usize>,
    connections: TaskTracker,
    /// The deadline of the drain is over.
    forced: Forced,
    /// Nobody goes on with the sockets after this generation.
    last: AtomicBool,
    end: watch::Sender<Option<End>>,
}

/// How a generation ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It drained; so many connections were cut off at the deadline.
    Drained { forced: usize },
    /// It was to be a successor and may not serve.
    Handoff(Arc<HandoffError>),
}

impl Shared {
    pub(super) fn new(
        number: u64,
        metrics_prefix: String,
        pid_file: Option<PidFile>,
        roster: Roster,
        restarts: mpsc::Sender<RestartRequest>,
    ) -> Self {
        Self {
            number,
            metrics_prefix,
            tracker: Tracker::new(),
            phase: watch::Sender::new(Phase::Starting),
            restarts,
            drain_requested: CancellationToken::new(),
            pid_file: Mutex::new(pid_file),
            roster: Mutex::new(roster),
            ready: watch::Sender::new(false),
            accepting: watch::Sender::new(0),
            serving: watch::Sender::new(0),
            connections: TaskTracker::new(),
            forced: Forced::default(),
            last: AtomicBool::new(false),
            end: watch::Sender::new(None),
        }
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(crate) fn metrics_prefix(&self) -> &str {
        &self.metrics_prefix
    }

    /// Looks at or changes the roster; whoever waits for readiness hears of it.
    pub(super) fn with_roster<T>(&self, work: impl FnOnce(&mut Roster) -> T) -> T {
        // Nothing panics while it is held; and were it so, the roster would still be whole.
        let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut roster);
        let is_ready = roster.is_ready();
        self.ready.send_if_modified(|ready| std::mem::replace(ready, is_ready) != is_ready);
        result
    }

    /// Waits until every listener is served and nobody holds the generation back.
    pub(super) async fn ready(&self) {
        _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Counts an accept loop that accepts, until the guard is dropped.
    pub(crate) fn accepting(&self) -> Counted {
        Counted::new(&self.accepting)
    }

    pub(super) fn count_serving(&self) -> Counted {
        Counted::new(&self.serving)
    }

    /// Waits until as many accept loops accept.
    pub(super) async fn accept_loops(&self, number: usize) {
        _ = self.accepting.subscribe().wait_for(|accepting| *accepting == number).await;
    }

    /// Waits until every served listener has closed its socket.
    pub(super) async fn listeners_closed(&self) {
        _ = self.serving.subscribe().wait_for(|serving| *serving == 0).await;
    }

    /// Counts a connection as open until it is dropped.
    pub(crate) fn connection(&self) -> TaskTrackerToken {
        self.connections.token()
    }

    /// Connections that were accepted and are not over.
    pub(crate) fn open_connections(&self) -> usize {
        self.connections.len()
    }

    /// Waits until every connection is over. Only once no listener accepts.
    pub(super) async fn connections_over(&self) {
        self.connections.close();
        self.connections.wait().await;
        self.tracker.none_open().await;
    }

    /// Ends every connection that is open, and says how many there were.
    pub(super) fn force_connections(&self) -> usize {
        // A stream that its service moved elsewhere is tracked and has no task; one that is not tracked has only that.
        let open = self.connections.len().max(self.tracker.len());
        self.tracker.end_all(CloseReason::DrainForced);
        self.forced.begin();
        open
    }

    /// Resolves when every connection has to end.
    pub(crate) fn forced(&self) -> ForcedBegun {
        self.forced.begun()
    }

    /// Says that the sockets end with this generation. Before [`Phase::Draining`] is entered.
    pub(super) fn set_last(&self) {
        self.last.store(true, Ordering::Release);
    }

    /// Whether the sockets end with this generation: what waits in their queues is served, and Unix paths go.
    pub(crate) fn is_last(&self) -> bool {
        self.last.load(Ordering::Acquire)
    }

    /// Makes the pid file name this process.
    pub(super) fn publish_pid_file(&self) -> Result<(), PidFileError> {
        match &mut *self.pid_file.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.publish(),
            None => Ok(()),
        }
    }

    /// Removes the pid file at the end of the line, if it names this process.
    pub(crate) fn remove_pid_file(&self) {
        if !self.is_last() {
            return;
        }
        let file = self.pid_file.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = file.map(PidFile::remove_if_ours) {
            tracing::warn!(error = %Chain(&error), "cannot remove the pid file");
        }
    }

    pub(super) fn end(&self, end: End) {
        self.end.send_replace(Some(end));
    }

    /// Waits until the generation has ended.
    pub(crate) async fn ended(&self) -> End {
        let mut changes = self.end.subscribe();
        loop {
            if let Some(end) = &*changes.borrow_and_update() {
                return end.clone();
            }
            // An error would mean that the sender is gone, and it is ours.
            _ = changes.changed().await;
        }
    }
}

/// One more, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
