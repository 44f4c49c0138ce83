//! The end of a drain's patience, as each connection waits for it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Says that the deadline of a drain is over, to every connection.
#[derive(Debug, Default)]
pub(crate) struct Forced {
    token: CancellationToken,
    begun: Arc<AtomicBool>,
}

impl Forced {
    /// Ends every connection that waits for it, now or later.
    pub(crate) fn begin(&self) {
        // In this order: whoever is woken by the token has to see it.
        self.begun.store(true, Ordering::Release);
        self.token.cancel();
    }

    pub(crate) fn begun(&self) -> ForcedBegun {
        ForcedBegun {
            begun: self.begun.clone(),
            cancelled: self.token.clone().cancelled_owned(),
            sleeper: None,
        }
    }
}

pin_project! {
    /// Waits for [`Forced::begin`].
    ///
    /// A connection polls it whenever its service waits, that is, at every round trip of its protocol. Polling a
    /// [`CancellationToken`] takes two locks that all connections share; this one does so only to go to sleep.
    #[derive(Debug)]
    pub(crate) struct ForcedBegun {
        begun: Arc<AtomicBool>,
        #[pin]
        cancelled: WaitForCancellationFutureOwned,
        // Whom the token wakes.
        sleeper: Option<Waker>,
    }
}

impl Future for ForcedBegun {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let asleep = this.sleeper.as_ref().is_some_and(|sleeper| sleeper.will_wake(cx.waker()));
        // No wake-up is lost: the token knows the waker, and `begun` is set before it wakes. So whoever does not see it here is
        // polled once more.
        if asleep && !this.begun.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        if this.cancelled.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        *this.sleeper = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    impl Task {
        fn woken(&self) -> bool {
            self.0.load(Ordering::Acquire)
        }

        fn poll(self: &Arc<Self>, begun: &mut Pin<Box<ForcedBegun>>) -> Poll<()> {
            begun.as_mut().poll(&mut Context::from_waker(&self.clone().into()))
        }
    }

    #[test]
    fn whoever_waits_is_woken() {
        let forced = Forced::default();
        let (task, mut begun) = (Arc::<Task>::default(), Box::pin(forced.begun()));
        // The second poll takes no lock; the first must not be forgotten for it.
        for _ in 0..2 {
            assert!(task.poll(&mut begun).is_pending());
        }
        assert!(!task.woken());
        forced.begin();
        assert!(task.woken());
        assert!(task.poll(&mut begun).is_ready());
        assert!(task.poll(&mut Box::pin(forced.begun())).is_ready(), "also who comes later");
    }

    #[test]
    fn who_moved_to_another_task_is_woken_there() {
        let forced = Forced::default();
        let (first, second, mut begun) =
            (Arc::<Task>::default(), Arc::<Task>::default(), Box::pin(forced.begun()));
        assert!(first.poll(&mut begun).is_pending());
        assert!(second.poll(&mut begun).is_pending());
        forced.begin();
        assert!(second.woken());
        assert!(second.poll(&mut begun).is_ready());
    }
}
