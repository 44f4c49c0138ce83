//! What the handle, the listeners and the life of a generation share.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis_layers::{CloseReason, ErrorChain, track::Tracker};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    claims::Claims,
    restart::{RestartRequest, unlink},
    roster::Roster,
    state::State,
};
use crate::{
    handoff::HandoffError,
    lifecycle::{Counted, Open, Phase},
    metrics::GenerationMetrics,
    pid_file::PidFile,
    systemd::Notifier,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) number: u64,
    pub(super) started: Instant,
    pub(super) metrics_prefix: String,
    pub(super) tracker: Tracker,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) restarts: mpsc::Sender<RestartRequest>,
    signals: bool,
    /// Somebody asked for a drain.
    pub(super) drain_requested: CancellationToken,
    pub(super) pid_file: Mutex<Option<PidFile>>,
    owns_pid_file: AtomicBool,
    pub(super) state: State,
    pub(super) metrics: Arc<GenerationMetrics>,
    /// Whom to tell what happens.
    pub(crate) notifier: Notifier,
    roster: Mutex<Roster>,
    /// Whether the roster is ready.
    ready: watch::Sender<bool>,
    /// Accept loops that accept.
    accepting: watch::Sender<usize>,
    /// The connections that this generation is there for, and their listeners.
    pub(super) open: Open,
    /// Those that tell of the others, and accept while these are drained.
    pub(super) attending: Open,
    /// The others are over; so many of them were cut off at the deadline.
    pub(super) drained: watch::Sender<Option<usize>>,
    /// Nobody goes on with the sockets after this generation.
    last: AtomicBool,
    end: watch::Sender<Option<End>>,
    pub(super) claims: Claims,
}

/// What a generation starts with.
pub(super) struct Parts {
    pub(super) number: u64,
    pub(super) metrics_prefix: String,
    pub(super) pid_file: Option<PidFile>,
    pub(super) roster: Roster,
    pub(super) state: State,
    pub(super) metrics: Arc<GenerationMetrics>,
    pub(super) notifier: Notifier,
    pub(super) restarts: mpsc::Sender<RestartRequest>,
    /// Whether the signals of an operator are obeyed.
    pub(super) signals: bool,
}

/// How a generation ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It drained; so many connections were cut off at the deadline.
    Drained { forced: usize },
    /// It was to be a successor and may not serve.
    Handoff(Arc<HandoffError>),
    /// What decides about it has panicked.
    Panicked,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            number: parts.number,
            started: Instant::now(),
            metrics_prefix: parts.metrics_prefix,
            tracker: Tracker::new(),
            phase: watch::Sender::new(Phase::Starting),
            restarts: parts.restarts,
            signals: parts.signals,
            drain_requested: CancellationToken::new(),
            pid_file: Mutex::new(parts.pid_file),
            owns_pid_file: AtomicBool::new(false),
            state: parts.state,
            metrics: parts.metrics,
            notifier: parts.notifier,
            roster: Mutex::new(parts.roster),
            ready: watch::Sender::new(false),
            accepting: watch::Sender::new(0),
            open: Open::new(),
            attending: Open::new(),
            drained: watch::Sender::new(None),
            last: AtomicBool::new(false),
            end: watch::Sender::new(None),
            claims: Claims::default(),
        }
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    #[cfg(feature = "admin")]
    pub(crate) const fn metrics(&self) -> &Arc<GenerationMetrics> {
        &self.metrics
    }

    /// Whether the signals of an operator are obeyed.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only TLS asks"))]
    pub(crate) const fn obeys_signals(&self) -> bool {
        self.signals
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

    /// Waits until the number of accept loops that accept is as wanted.
    pub(super) async fn accept_loops(&self, wanted: impl Fn(usize) -> bool) {
        _ = self.accepting.subscribe().wait_for(|accepting| wanted(*accepting)).await;
    }

    /// What a listener belongs to.
    pub(crate) const fn open(&self, attending: bool) -> &Open {
        if attending { &self.attending } else { &self.open }
    }

    /// Waits until the connections that are drained are over, and says how many of them were cut off at the deadline.
    pub(crate) async fn drained(&self) -> usize {
        // An error would mean that the sender is gone, and it is ours.
        let mut drained = self.drained.subscribe();
        drained.wait_for(Option::is_some).await.ok().and_then(|forced| *forced).unwrap_or_default()
    }

    /// Whether the connections that are drained are over.
    pub(crate) fn is_drained(&self) -> bool {
        self.drained.borrow().is_some()
    }

    /// Waits until every connection that is drained is over; also those whose stream was moved elsewhere.
    pub(super) async fn connections_over(&self) {
        self.open.over().await;
        self.tracker.wait_idle().await;
    }

    /// Ends every connection that is drained, and says how many there were.
    pub(super) fn force_connections(&self) -> usize {
        // A stream that its service moved elsewhere is tracked and has no task; one that is not tracked has only that.
        let open = self.open.connections().max(self.tracker.len());
        self.tracker.close_all(CloseReason::DrainForced);
        self.open.force();
        open
    }

    /// Says that the sockets end with this generation. Before [`Phase::Draining`] is entered.
    pub(super) fn set_last(&self) {
        self.last.store(true, Ordering::Release);
    }

    /// Whether the sockets end with this generation: what waits in their queues is served, and Unix paths go.
    pub(crate) fn is_last(&self) -> bool {
        self.last.load(Ordering::Acquire)
    }

    /// Removes the Unix paths that end with this generation. Blocks.
    fn unlink(&self) {
        let listeners = self.with_roster(|roster| roster.acceptors());
        let ours = listeners.into_iter().filter(|(name, _)| !self.notifier.keeps(name));
        unlink(&ours.map(|(_, listener)| listener).collect::<Vec<_>>());
    }

    /// From now on the pid file is this generation's to write and to remove.
    pub(super) fn own_pid_file(&self) {
        self.owns_pid_file.store(true, Ordering::Release);
    }

    /// Makes the pid file name this process.
    pub(super) fn publish_pid_file(&self) {
        let mut file = self.pid_file.lock().unwrap_or_else(PoisonError::into_inner);
        // A generation that has stopped accepting meanwhile, or has not begun, leaves it to others.
        if !matches!(*self.phase.borrow(), Phase::Serving | Phase::Starting) {
            return;
        }
        if let Some(Err(error)) = file.as_mut().map(PidFile::publish) {
            // It could be written when we started. Whoever serves must serve on.
            tracing::error!(error = %ErrorChain(&error), "cannot write the pid file");
        }
    }

    /// Removes the pid file at the end of the line, if it names this process.
    pub(super) fn remove_pid_file(&self) {
        if !self.is_last() {
            return;
        }
        let mut file = self.pid_file.lock().unwrap_or_else(PoisonError::into_inner).take();
        if self.owns_pid_file.load(Ordering::Acquire)
            && let Some(file) = &mut file
        {
            // One that was told to finish at once has not written it yet, and it names the predecessor.
            _ = file.publish();
        }
        if let Some(Err(error)) = file.map(PidFile::remove_if_ours) {
            tracing::warn!(error = %ErrorChain(&error), "cannot remove the pid file");
        }
    }

    /// For an end without waiting: what a drain would have removed is removed now.
    ///
    /// A restart that is under way must be called off first, or its successor would take our end for a death and go on
    /// alone. That is done when the drain begins, and it does not take long.
    pub(crate) async fn leave_nothing_behind(self: &Arc<Self>) {
        let mut phases = self.phase.subscribe();
        let draining = phases.wait_for(|phase| *phase == Phase::Draining);
        _ = tokio::time::timeout(Duration::from_millis(500), draining).await;
        // A path may be locked by somebody; that must not keep anybody who says "at once".
        let cleaning = tokio::task::spawn_blocking({
            let shared = self.clone();
            move || {
                if shared.is_last() {
                    shared.unlink();
                }
                shared.remove_pid_file();
            }
        });
        _ = tokio::time::timeout(Duration::from_millis(500), cleaning).await;
    }

    pub(super) fn end(&self, end: End) {
        self.end.send_replace(Some(end));
    }

    /// Whether the generation has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
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
