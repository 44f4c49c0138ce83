//! What the future and the stream of one connection know together.

use std::{
    error::Error,
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::series::Series;
use crate::{
    outcome::{CloseReason, Outcome},
    tls_info::TlsInfo,
};

/// One accepted connection. It is counted as over when the last reference goes, and therefore once: the future says why
/// it ended, the stream (which may live longer, in another task) what it saw.
pub(super) struct Life {
    series: Arc<Series>,
    began: Instant,
    // What the future resolved to, or why it did not. The first word stands.
    ending: OnceLock<Outcome>,
    // What went wrong with the stream, by its own account. The first word stands.
    failure: OnceLock<CloseReason>,
    eof: AtomicBool,
    // The stream below was given out of hand: what happened to it, nobody here has seen.
    given: AtomicBool,
    // What is written now is the end of a session above, and nobody waits for it.
    closing: AtomicBool,
    handshaking: AtomicBool,
}

impl Life {
    pub(super) fn begin(series: Arc<Series>) -> Self {
        series.accepted.increment(1);
        series.active.increment(1.0);
        Self {
            series,
            began: Instant::now(),
            ending: OnceLock::new(),
            failure: OnceLock::new(),
            eof: AtomicBool::new(false),
            given: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            handshaking: AtomicBool::new(false),
        }
    }

    pub(super) fn series(&self) -> &Series {
        &self.series
    }

    pub(super) fn handshake_started(&self) {
        if !self.handshaking.swap(true, Ordering::Relaxed) {
            self.series.handshaking.increment(1.0);
        }
    }

    pub(super) fn handshake_completed(&self, tls: &TlsInfo, took: Duration) {
        self.handshake_over();
        self.series.handshake(tls, Some(took));
    }

    fn handshake_over(&self) {
        if self.handshaking.swap(false, Ordering::Relaxed) {
            self.series.handshaking.decrement(1.0);
        }
    }

    /// The future is over. The first word stands; `ending` is not asked for another.
    pub(super) fn over_unless_said(&self, ending: impl FnOnce() -> Outcome) {
        self.handshake_over();
        self.ending.get_or_init(ending);
    }

    /// What the future resolved to.
    pub(super) fn resolved(&self, result: Result<(), &(dyn Error + 'static)>) {
        self.over_unless_said(|| {
            let seen = self.failure.get().is_some()
                || self.eof.load(Ordering::Relaxed)
                || self.given.load(Ordering::Relaxed);
            // The service has files and streams of its own. An error of theirs is not the peer's doing.
            if seen { Outcome::of(result) } else { Outcome::of_a_sound_stream(result) }
        });
    }

    /// The peer said that it was done. Read when the last reference goes, which is after this.
    pub(super) fn eof(&self) {
        self.eof.store(true, Ordering::Relaxed);
    }

    /// The stream below is in other hands.
    pub(super) fn given(&self) {
        self.given.store(true, Ordering::Relaxed);
    }

    /// The stream failed. Noted also where the future is not over: it may be polled by another task, which resolves with
    /// success a moment later and knows nothing of it.
    pub(super) fn failed(&self, error: &io::Error) {
        if self.closing.load(Ordering::Relaxed) {
            return;
        }
        match Outcome::of(Err(error)) {
            // An error that says nothing, but it is the stream's.
            Outcome::Closed(CloseReason::Service) => self.ended(CloseReason::Io),
            Outcome::Closed(reason) => self.ended(reason),
            _ => {}
        }
    }

    /// The last words of a session above come now. A peer that has left does not hear them, and need not.
    pub(super) fn closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// The stream came to an end for this reason.
    pub(super) fn ended(&self, reason: CloseReason) {
        let _ = self.failure.set(reason);
    }

    fn ending(&self) -> Outcome {
        match self.ending.get() {
            // There never was a future: the inner service panicked in `call`.
            None => Outcome::Closed(CloseReason::Service),
            Some(Outcome::Closed(CloseReason::Completed)) => Outcome::Closed(match self.failure.get() {
                Some(reason) => *reason,
                None if self.eof.load(Ordering::Relaxed) => CloseReason::ClientEof,
                None => CloseReason::Completed,
            }),
            Some(ending) => *ending,
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.handshake_over();
        self.series.ending(self.ending(), self.began.elapsed());
        self.series.active.decrement(1.0);
    }
}
