//! What the future and the stream of one connection know together.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::series::Series;
use crate::{CloseReason, Ending, tls::TlsSession};

/// One accepted connection. It is counted as over when the last reference goes, and therefore once: the future says why
/// it ended, the stream (which may live longer, in another task) what it saw.
pub(super) struct Life {
    series: Arc<Series>,
    began: Instant,
    // What the future resolved to, or why it did not. The first word stands.
    ending: OnceLock<Ending>,
    // What went wrong with a stream that outlived its future.
    afterwards: OnceLock<CloseReason>,
    eof: AtomicBool,
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
            afterwards: OnceLock::new(),
            eof: AtomicBool::new(false),
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

    pub(super) fn handshake_completed(&self, session: &TlsSession<'_>, took: Duration) {
        self.handshake_over();
        self.series.handshake(session, Some(took));
    }

    fn handshake_over(&self) {
        if self.handshaking.swap(false, Ordering::Relaxed) {
            self.series.handshaking.decrement(1.0);
        }
    }

    /// The future is over. The first word stands; `ending` is not asked for another.
    pub(super) fn over_unless_said(&self, ending: impl FnOnce() -> Ending) {
        self.handshake_over();
        self.ending.get_or_init(ending);
    }

    /// The peer said that it was done. Read when the last reference goes, which is after this.
    pub(super) fn eof(&self) {
        self.eof.store(true, Ordering::Relaxed);
    }

    /// The stream failed. The future knows what that means, as long as there is one.
    pub(super) fn failed(&self, error: &io::Error) {
        if self.ending.get().is_some()
            && let Ending::Closed(reason) = Ending::of(Err(error))
        {
            let _ = self.afterwards.set(reason);
        }
    }

    fn ending(&self) -> Ending {
        match self.ending.get() {
            // There never was a future: the inner service panicked in `call`.
            None => Ending::Closed(CloseReason::Service),
            Some(Ending::Closed(CloseReason::Completed)) => Ending::Closed(match self.afterwards.get() {
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
