//! What the handle, the task and the listeners of a generation share.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use portcullis_layers::ErrorChain;
use tokio::sync::mpsc;

use super::{
    observer::Observer,
    restart::{RestartRequest, unlink},
    state::State,
};
use crate::{
    bind::ListenerRegistry,
    handoff::HandoffError,
    lifecycle::{Lifecycle, Phase},
    metrics::GenerationMetrics,
    pid_file::PidFile,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) number: u64,
    #[cfg(feature = "control")]
    pub(super) started: std::time::Instant,
    /// What the names of metrics begin with.
    pub(super) metrics_prefix: Arc<str>,
    /// Whether the signals of an operator are obeyed.
    #[cfg(feature = "tls")]
    pub(super) obeys_signals: bool,
    pub(super) lifecycle: Arc<Lifecycle<HandoffError>>,
    pub(super) registry: Arc<ListenerRegistry>,
    pub(super) restarts: mpsc::Sender<RestartRequest>,
    pub(super) state: State,
    pub(super) metrics: Arc<GenerationMetrics>,
    pub(super) observer: Arc<dyn Observer>,
    #[cfg(feature = "tls")]
    pub(super) claims: super::claims::Claims,
    pub(super) pid_file: Mutex<Option<PidFile>>,
    pub(super) owns_pid_file: AtomicBool,
    /// It names this process, unless another program has written it.
    pub(super) published_pid_file: AtomicBool,
}

impl Shared {
    /// Removes the Unix paths that end with this generation. Blocks.
    fn unlink(&self) {
        let listeners = self.registry.listeners().into_iter().map(|listener| listener.acceptor);
        unlink(&listeners.filter(|acceptor| !acceptor.is_kept()).collect::<Vec<_>>());
    }

    /// Waits until every listener that is served accepts.
    pub(super) async fn all_accept(&self) {
        // Counted anew each time: a listener may be dropped meanwhile.
        self.lifecycle.accept_loops(|accepting| accepting >= self.registry.served()).await;
    }

    /// Marks that this generation writes and removes the pid file from now on.
    pub(super) fn own_pid_file(&self) {
        self.owns_pid_file.store(true, Ordering::Release);
    }

    /// A successor may write the pid file from now on.
    pub(super) fn hand_on_pid_file(&self) {
        self.published_pid_file.store(false, Ordering::Release);
    }

    /// Writes the pid file, and returns whether that succeeded. Blocks.
    pub(super) fn publish_pid_file(&self) -> bool {
        let mut file = self.pid_file.lock().unwrap_or_else(PoisonError::into_inner);
        // Only a generation that accepts writes it.
        if !matches!(self.lifecycle.phase(), Phase::Serving | Phase::Starting) {
            return true;
        }
        match file.as_mut().map(PidFile::publish) {
            None => true,
            Some(Ok(())) => {
                self.published_pid_file.store(true, Ordering::Release);
                true
            }
            Some(Err(error)) => {
                // `start` checked that it can be written. The generation continues to serve.
                log!(error, error = %ErrorChain(&error), "cannot write the pid file");
                false
            }
        }
    }

    /// Removes the pid file if it names this process and no other process uses the sockets.
    pub(super) fn remove_pid_file(&self) {
        if !self.lifecycle.is_last() {
            return;
        }
        let mut file = self.pid_file.lock().unwrap_or_else(PoisonError::into_inner).take();
        if self.owns_pid_file.load(Ordering::Acquire)
            && !self.published_pid_file.load(Ordering::Acquire)
            && let Some(file) = &mut file
        {
            // It may name the predecessor, or a successor that was rolled back.
            _ = file.publish();
        }
        if let Some(Err(error)) = file.map(PidFile::remove_if_ours) {
            log!(warn, error = %ErrorChain(&error), "cannot remove the pid file");
        }
    }

    /// Removes the pid file if it names this process, which exits without having drained. Blocks.
    pub(super) fn remove_pid_file_after_a_panic(&self) {
        let file = self.pid_file.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = file.map(PidFile::remove_if_ours) {
            log!(warn, error = %ErrorChain(&error), "cannot remove the pid file");
        }
    }

    /// For an immediate exit: removes what a drain would have removed.
    ///
    /// A restart that is under way must be cancelled first: its successor would otherwise take the
    /// exit for a crash and serve alone. This happens when the drain starts, and does not take
    /// long.
    pub(super) async fn remove_paths(self: &Arc<Self>) {
        const LIMIT: Duration = Duration::from_millis(500);

        let mut phases = self.lifecycle.phases();
        let draining = phases.wait_for(|phase| *phase == Phase::Draining);
        _ = tokio::time::timeout(LIMIT, draining).await;
        // A path may be locked by another process; that must not delay the exit.
        let cleaning = tokio::task::spawn_blocking({
            let shared = self.clone();
            move || {
                if shared.lifecycle.is_last() {
                    shared.unlink();
                }
                shared.remove_pid_file();
            }
        });
        _ = tokio::time::timeout(LIMIT, cleaning).await;
    }
}
