//! Time during which this process was not stopped.
//!
//! A limit for another process must not count the time during which this one was stopped (SIGSTOP,
//! a paused container, a suspended machine): the messages of the other side could not be read, and
//! it may have been stopped as well. [`Instant`] advances meanwhile. So time is counted in short
//! slices, and a slice that ends much too late counts with its nominal length. All
//! extensions of a limit after such slices are together no longer than the limit.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// The longest slice.
const SLICE: Duration = Duration::from_millis(100);

/// A slice that ends this much too late was interrupted by a stop: no runtime is that busy.
const STOPPED: Duration = Duration::from_millis(500);

/// The minimum time for the other side to send a message after this process was stopped, unless the limit
/// was extended by its own length already.
const MOMENT: Duration = Duration::from_secs(1);

/// A limit in [running time](self). It begins at its first poll, or at its creation if it is polled
/// soon after.
#[derive(Debug)]
pub(crate) struct Deadline {
    limit: Duration,
    left: Duration,
    /// By how much it may still be extended.
    extension: Duration,
    slice: Option<(Instant, Duration, Pin<Box<Sleep>>)>,
}

impl Deadline {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self { limit, left: limit, extension: limit, slice: None }
    }

    /// Ready when the limit has expired, and from then on. Cancel safe.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.left.is_zero() {
            let left = self.left;
            let (began, length, slice) = self.slice.get_or_insert_with(|| {
                let length = left.min(SLICE);
                (Instant::now(), length, Box::pin(sleep(length)))
            });
            ready!(slice.as_mut().poll(cx));
            let took = began.elapsed();
            self.left = if took > *length + STOPPED {
                let left = left.saturating_sub(*length);
                let extension = MOMENT.min(self.limit).saturating_sub(left).min(self.extension);
                // Without a bound, a process that is stopped again and again would wait for ever.
                self.extension -= extension;
                left + extension
            } else {
                left.saturating_sub(took)
            };
            self.slice = None;
        }
        Poll::Ready(())
    }

    /// Waits until the limit has expired. Cancel safe.
    pub(crate) async fn expired(&mut self) {
        poll_fn(|cx| self.poll_expired(cx)).await;
    }
}

/// Waits for the future for at most `limit` of [running time](self); `None` if the limit expires.
/// Cancel safe if the future is.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut deadline = Deadline::new(limit);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => deadline.poll_expired(cx).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_as_long_as_it_says() {
        for limit in [0, 1, 99, 100, 101, 5000].map(Duration::from_millis) {
            let began = Instant::now();
            assert_eq!(within(limit, std::future::pending::<()>()).await, None);
            let took = began.elapsed();
            // The clock of the runtime has milliseconds, and each slice may be rounded up.
            let slices = u32::try_from(limit.as_millis() / SLICE.as_millis()).unwrap() + 1;
            assert!(
                took >= limit && took <= limit + Duration::from_millis(2) * slices,
                "{limit:?}: {took:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_process_was_stopped_does_not_count() {
        let mut deadline = Deadline::new(Duration::from_secs(5));
        let mut polled = || {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            deadline.poll_expired(&mut cx).is_ready()
        };
        assert!(!polled());
        // As after a SIGSTOP of an hour: no poll in between.
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(!polled(), "one slice is over");
        let left = deadline.left;
        assert!(left >= Duration::from_millis(4800), "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_stopped_in_the_last_slice_gives_a_moment() {
        let mut deadline = Deadline::new(Duration::from_secs(2));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(deadline.poll_expired(&mut cx).is_pending());
        deadline.left = SLICE + Duration::from_millis(1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(deadline.poll_expired(&mut cx).is_pending());
        let began = Instant::now();
        deadline.expired().await;
        assert!(began.elapsed() >= MOMENT, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_expires_also_in_a_process_that_is_stopped_again_and_again() {
        for limit in [1, 300, 2000, 5000].map(Duration::from_millis) {
            let mut deadline = Deadline::new(limit);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let mut slices = 0;
            while deadline.poll_expired(&mut cx).is_pending() {
                slices += 1;
                let most = 2 * limit.as_millis() / SLICE.as_millis() + 2;
                assert!(slices <= most, "{limit:?} should have expired: {deadline:?}");
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
    }
}
