//! The signal that asks connections to come to an end.

use std::{
    future::{Future, pending, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Says when a connection should come to an end by itself: finish what it is doing, start nothing new.
///
/// A leaf that serves requests watches it and stops keep-alive; a leaf whose clients decide when they are
/// done may ignore it, and is then ended at the deadline of the drain. Cloning is cheap, and every clone
/// sees the same signal, also one that is made after the drain began.
///
/// A connection may belong to several who drain: to a tracker of your own, say, and to the listener that accepted it.
/// Its signal then comes with the first of theirs; see [`Drain::or`].
#[derive(Clone, Debug, Default)]
pub struct Drain {
    signal: Signal,
}

#[derive(Clone, Debug, Default)]
enum Signal {
    #[default]
    Never,
    // By far the most frequent, and without an allocation.
    One(CancellationToken),
    // The first of these; no two are the same.
    First(Arc<[CancellationToken]>),
}

impl Drain {
    /// A signal that never comes: the connection belongs to nobody who drains.
    #[must_use]
    pub const fn never() -> Self {
        Self { signal: Signal::Never }
    }

    /// A signal that comes with this one or the other, whichever is first.
    ///
    /// This is what a wrapper with a signal of its own returns as [`Connection::drain`](crate::Connection::drain): its
    /// own, or that of the stream below. It costs nothing where one of the two never comes, or both are the same.
    ///
    /// ```
    /// use portcullis_layers::{Drain, track::Tracker};
    ///
    /// let (own, listener) = (Tracker::new(), Tracker::new());
    /// let signal = own.drain().or(listener.drain());
    /// listener.announce_drain();
    /// assert!(signal.has_begun());
    /// ```
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if other.tokens().iter().all(|token| self.tokens().contains(token)) {
            return self;
        }
        if self.tokens().iter().all(|token| other.tokens().contains(token)) {
            return other;
        }
        let more = other.tokens().iter().filter(|token| !self.tokens().contains(token));
        let tokens = self.tokens().iter().chain(more).cloned().collect();
        Self { signal: Signal::First(tokens) }
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.tokens().iter().any(CancellationToken::is_cancelled)
    }

    /// Waits until the drain begins; returns at once if it has. Cancel safe.
    pub async fn begun(&self) {
        match &self.signal {
            Signal::Never => pending().await,
            Signal::One(token) => token.cancelled().await,
            Signal::First(tokens) => {
                let mut signals: Vec<Pin<Box<WaitForCancellationFuture<'_>>>> =
                    tokens.iter().map(|token| Box::pin(token.cancelled())).collect();
                poll_fn(|cx| {
                    let begun = signals.iter_mut().any(|signal| signal.as_mut().poll(cx).is_ready());
                    if begun { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
        }
    }

    fn tokens(&self) -> &[CancellationToken] {
        match &self.signal {
            Signal::Never => &[],
            Signal::One(token) => std::slice::from_ref(token),
            Signal::First(tokens) => tokens,
        }
    }
}

/// A drain that begins when the token is cancelled.
impl From<CancellationToken> for Drain {
    fn from(token: CancellationToken) -> Self {
        Self { signal: Signal::One(token) }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    fn signals<const N: usize>() -> ([CancellationToken; N], [Drain; N]) {
        let tokens = std::array::from_fn(|_| CancellationToken::new());
        let drains = tokens.clone().map(Drain::from);
        (tokens, drains)
    }

    fn is_pending(future: impl Future) -> bool {
        std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn one_that_never_comes_never_comes() {
        assert!(!Drain::never().has_begun());
        assert!(!Drain::default().has_begun());
        assert!(is_pending(Drain::never().begun()));
        assert!(is_pending(Drain::never().or(Drain::never()).begun()));
    }

    #[test]
    fn every_clone_sees_it_also_one_that_is_made_later() {
        let ([token], [drain]) = signals();
        let before = drain.clone();
        assert!(!before.has_begun() && is_pending(before.begun()));
        token.cancel();
        for drain in [&before, &drain.clone()] {
            assert!(drain.has_begun() && !is_pending(drain.begun()));
        }
    }

    #[tokio::test]
    async fn any_of_several_is_enough_and_wakes_whoever_waits() {
        for first in 0..3 {
            let (tokens, [a, b, c]) = signals();
            let drain = a.or(b).or(c);
            assert!(!drain.has_begun());
            let waits = tokio::spawn({
                let drain = drain.clone();
                async move { drain.begun().await }
            });
            tokio::task::yield_now().await;
            tokens[first].cancel();
            tokio::time::timeout(std::time::Duration::from_secs(10), waits).await.unwrap().unwrap();
            assert!(drain.has_begun());
        }
    }

    #[test]
    fn nothing_is_allocated_where_one_signal_is_enough() {
        let (_, [a, b]) = signals();
        for one in [a.clone().or(Drain::never()), Drain::never().or(a.clone()), a.clone().or(a.clone())] {
            assert!(matches!(one.signal, Signal::One(_)));
        }
        let both = a.clone().or(b);
        assert_eq!(both.clone().or(a.clone()).tokens().len(), 2);
        assert_eq!(a.or(both).tokens().len(), 2);
    }
}
