//! The signal that asks connections to finish.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use crate::close_signal::{CloseSignal, Closed};

/// Signals that a connection should finish: complete requests in flight, start no new ones.
///
/// A service that handles requests watches it and stops keep-alive. A service whose clients decide
/// when to close may ignore it; its connections are closed at the deadline of the drain. Cloning is
/// cheap. Every clone sees the same signal, even one that is created after the drain has started.
/// A task that waits takes a lock when it starts to wait, when its waker has changed, and when it
/// stops; no other poll takes one.
///
/// A connection may have several signals, such as that of a tracker and that of the listener. The
/// first one that is fired counts; see [`Drain::or`].
#[derive(Clone, Debug, Default)]
pub struct Drain {
    signal: Signal,
}

#[derive(Clone, Debug, Default)]
enum Signal {
    #[default]
    Never,
    // By far the most frequent, and without an allocation.
    One(Arc<CloseSignal>),
    // The first of these; no two are the same.
    First(Arc<[Arc<CloseSignal>]>),
}

impl Drain {
    /// A signal that is never fired.
    #[must_use]
    pub const fn never() -> Self {
        Self { signal: Signal::Never }
    }

    /// A signal that is fired when this one or the other one is fired.
    ///
    /// A wrapper with a signal of its own returns this from
    /// [`Connection::drain`](crate::Connection::drain), to combine it with the signal of the inner
    /// stream. It costs nothing if one of the two is never fired, or if both are the same.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use portcullis_layers::{CloseReason, CloseSignal, Drain};
    ///
    /// let (own, listener) = (Arc::new(CloseSignal::new()), Arc::new(CloseSignal::new()));
    /// let signal = Drain::from(own).or(Drain::from(listener.clone()));
    /// listener.fire(CloseReason::Completed);
    /// assert!(signal.is_signaled());
    /// ```
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let more: Vec<_> = other.signals().iter().filter(|signal| !self.has(signal)).collect();
        if more.is_empty() {
            return self;
        }
        if self.signals().iter().all(|signal| other.has(signal)) {
            return other;
        }
        let signals = self.signals().iter().chain(more).cloned().collect();
        Self { signal: Signal::First(signals) }
    }

    /// Whether the drain has started.
    #[must_use]
    pub fn is_signaled(&self) -> bool {
        self.signals().iter().any(|signal| signal.fired().is_some())
    }

    /// Waits until the drain starts; returns immediately if it has. Cancel safe.
    pub async fn signaled(&self) {
        // One needs no list.
        let (mut first, mut more): (Option<Closed>, Vec<Closed>) = match self.signals() {
            [] => (None, Vec::new()),
            [first, more @ ..] => (Some(first.wait()), more.iter().map(CloseSignal::wait).collect()),
        };
        poll_fn(|cx| {
            let fired = first.iter_mut().chain(&mut more).any(|closed| Pin::new(closed).poll(cx).is_ready());
            if fired { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn has(&self, signal: &Arc<CloseSignal>) -> bool {
        self.signals().iter().any(|one| Arc::ptr_eq(one, signal))
    }

    fn signals(&self) -> &[Arc<CloseSignal>] {
        match &self.signal {
            Signal::Never => &[],
            Signal::One(signal) => std::slice::from_ref(signal),
            Signal::First(signals) => signals,
        }
    }
}

/// The drain starts when the signal is fired, for any reason.
impl From<Arc<CloseSignal>> for Drain {
    fn from(signal: Arc<CloseSignal>) -> Self {
        Self { signal: Signal::One(signal) }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::outcome::CloseReason;

    fn signals<const N: usize>() -> ([Arc<CloseSignal>; N], [Drain; N]) {
        let tokens = std::array::from_fn(|_| Arc::new(CloseSignal::new()));
        let drains = tokens.clone().map(Drain::from);
        (tokens, drains)
    }

    fn is_pending(future: impl Future) -> bool {
        std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn one_that_never_comes_never_comes() {
        assert!(!Drain::never().is_signaled());
        assert!(!Drain::default().is_signaled());
        assert!(is_pending(Drain::never().signaled()));
        assert!(is_pending(Drain::never().or(Drain::never()).signaled()));
    }

    #[test]
    fn every_clone_sees_it_also_one_that_is_made_later() {
        let ([token], [drain]) = signals();
        let before = drain.clone();
        assert!(!before.is_signaled() && is_pending(before.signaled()));
        token.fire(CloseReason::Completed);
        for drain in [&before, &drain.clone()] {
            assert!(drain.is_signaled() && !is_pending(drain.signaled()));
        }
    }

    #[tokio::test]
    async fn any_of_several_is_enough_and_wakes_whoever_waits() {
        for first in 0..3 {
            let (tokens, [a, b, c]) = signals();
            let drain = a.or(b).or(c);
            assert!(!drain.is_signaled());
            let waits = tokio::spawn({
                let drain = drain.clone();
                async move { drain.signaled().await }
            });
            tokio::task::yield_now().await;
            tokens[first].fire(CloseReason::Completed);
            tokio::time::timeout(std::time::Duration::from_secs(10), waits).await.unwrap().unwrap();
            assert!(drain.is_signaled());
        }
    }

    #[test]
    fn nothing_is_allocated_where_one_signal_is_enough() {
        let (_, [a, b]) = signals();
        for one in [a.clone().or(Drain::never()), Drain::never().or(a.clone()), a.clone().or(a.clone())] {
            assert!(matches!(one.signal, Signal::One(_)));
        }
        let both = a.clone().or(b);
        assert_eq!(both.clone().or(a.clone()).signals().len(), 2);
        assert_eq!(a.or(both).signals().len(), 2);
    }
}
