//! The signal that closes connections from outside.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::outcome::CloseReason;

/// A signal that is fired once, with a reason, and wakes every task that waits for it.
///
/// Use one signal for one connection (whose future, reader and writer may be three tasks), or for
/// all connections of a process. Reading it is one atomic load. A waiting task takes a lock when it
/// starts to wait, when its waker changes and when it stops, but not when it is polled.
///
/// ```
/// use std::sync::Arc;
/// use portcullis_layers::{CloseReason, CloseSignal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let signal = Arc::new(CloseSignal::new());
/// let waits = tokio::spawn(signal.wait());
/// assert!(signal.fire(CloseReason::Killed));
/// assert_eq!(waits.await.unwrap(), CloseReason::Killed);
///
/// assert!(!signal.fire(CloseReason::Idle), "the first reason stands");
/// assert_eq!(signal.fired(), Some(CloseReason::Killed));
/// # }
/// ```
pub struct CloseSignal {
    /// `OPEN`, or one more than the index of the reason in `CloseReason::ALL`. Set once.
    fired: AtomicU8,
    waiting: Mutex<Waiting>,
}

const OPEN: u8 = 0;

/// How many wakers need no allocation: the future, the reader and the writer of one connection.
const INLINE: usize = 3;

/// The wakers, each in the slot whose number its [`Waiter`] knows.
struct Waiting {
    first: [Option<Waker>; INLINE],
    more: Vec<Option<Waker>>,
    /// The free slots in `more`.
    free: Vec<usize>,
}

/// The place of one task among those that a [`CloseSignal`] wakes. It belongs to one signal for its whole life.
#[derive(Debug)]
pub(crate) struct Waiter {
    slot: Option<usize>,
    /// The waker in the slot, so that it is seen without the lock whether it is still the right one.
    waker: Option<Waker>,
}

impl Waiter {
    /// One that does not wait yet.
    pub(crate) const fn new() -> Self {
        Self { slot: None, waker: None }
    }
}

impl CloseSignal {
    /// Creates a signal that is not fired.
    #[must_use]
    pub const fn new() -> Self {
        let waiting = Waiting { first: [const { None }; INLINE], more: Vec::new(), free: Vec::new() };
        Self { fired: AtomicU8::new(OPEN), waiting: Mutex::new(waiting) }
    }

    /// Fires the signal, and wakes every task that waits for it. Returns `false` if it was fired
    /// before; the first reason is kept.
    pub fn fire(&self, reason: CloseReason) -> bool {
        let code = reason as u8 + 1;
        let first = self.fired.compare_exchange(OPEN, code, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if first {
            let (first, more) = {
                let mut waiting = self.waiting();
                (std::mem::take(&mut waiting.first), std::mem::take(&mut waiting.more))
            };
            // Without the lock: a waker may run its task at once.
            first.into_iter().chain(more).flatten().for_each(Waker::wake);
        }
        first
    }

    /// The reason, if the signal was fired.
    #[must_use]
    pub fn fired(&self) -> Option<CloseReason> {
        match self.fired.load(Ordering::Acquire) {
            OPEN => None,
            code => CloseReason::ALL.get(usize::from(code) - 1).copied(),
        }
    }

    /// Waits until the signal is fired. Cancel safe.
    pub fn wait(self: &Arc<Self>) -> Closed {
        Closed { signal: self.clone(), waiter: Waiter::new() }
    }

    /// The reason; or the task is woken when there is one.
    pub(crate) fn poll(&self, waiter: &mut Waiter, cx: &Context<'_>) -> Poll<CloseReason> {
        if let Some(reason) = self.fired() {
            return Poll::Ready(reason);
        }
        if waiter.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        waiter.waker = Some(cx.waker().clone());
        let mut waker = waiter.waker.clone();
        {
            let mut waiting = self.waiting();
            let slot = *waiter.slot.get_or_insert_with(|| waiting.reserve());
            // It is gone if the signal was fired in between.
            if let Some(place) = waiting.place(slot) {
                std::mem::swap(place, &mut waker);
            }
        }
        // The one before, without the lock: it may be the last reference to a task.
        drop(waker);
        // The race: `fire` may have taken the wakers after the first look and before this one was among them. It sets the
        // reason before it takes the lock, so that one of the two is seen: the waker there, or the reason here.
        self.fired().map_or(Poll::Pending, Poll::Ready)
    }

    /// The task does not wait any more. A waker that stayed would keep the memory of its task.
    pub(crate) fn forget(&self, waiter: &mut Waiter) {
        waiter.waker = None;
        if let Some(slot) = waiter.slot.take() {
            let waker = self.waiting().release(slot);
            // Without the lock, for it may be the last reference to a task.
            drop(waker);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that holds the lock leaves the slots half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// A free slot. A slot in `first` is in use while a waker is in it, which the caller puts there.
    fn reserve(&mut self) -> usize {
        if let Some(slot) = self.first.iter().position(Option::is_none) {
            return slot;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.more.push(None);
            self.more.len() - 1
        });
        INLINE + place
    }

    fn place(&mut self, slot: usize) -> Option<&mut Option<Waker>> {
        match slot.checked_sub(INLINE) {
            None => self.first.get_mut(slot),
            Some(place) => self.more.get_mut(place),
        }
    }

    fn release(&mut self, slot: usize) -> Option<Waker> {
        let waker = self.place(slot)?.take();
        if let Some(place) = slot.checked_sub(INLINE) {
            self.free.push(place);
        }
        waker
    }
}

impl Default for CloseSignal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CloseSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseSignal").field("fired", &self.fired()).finish_non_exhaustive()
    }
}

/// The future of [`CloseSignal::wait`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Closed {
    signal: Arc<CloseSignal>,
    waiter: Waiter,
}

impl Closed {
    /// Returns the reason, if the signal was fired. Does not wait.
    #[must_use]
    pub fn fired(&self) -> Option<CloseReason> {
        self.signal.fired()
    }
}

/// The clone waits for the same signal independently.
impl Clone for Closed {
    fn clone(&self) -> Self {
        self.signal.wait()
    }
}

impl Future for Closed {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let Self { signal, waiter } = &mut *self;
        signal.poll(waiter, cx)
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.signal.forget(&mut self.waiter);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Task {
        fn poll(self: &Arc<Self>, closed: &mut Closed) -> Poll<CloseReason> {
            Pin::new(closed).poll(&mut Context::from_waker(&self.clone().into()))
        }

        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn every_task_that_waits_is_woken_once() {
        let signal = Arc::new(CloseSignal::new());
        let mut waits: Vec<_> = (0..10).map(|_| (Arc::<Task>::default(), signal.wait())).collect();
        for _ in 0..2 {
            assert!(waits.iter_mut().all(|(task, closed)| task.poll(closed).is_pending()));
        }
        assert!(signal.fire(CloseReason::Killed) && !signal.fire(CloseReason::Idle));
        for (task, closed) in &mut waits {
            assert_eq!(task.woken(), 1);
            assert_eq!(task.poll(closed), Poll::Ready(CloseReason::Killed));
        }
        let late = Arc::<Task>::default().poll(&mut signal.wait());
        assert_eq!(late, Poll::Ready(CloseReason::Killed), "also a task that waits later");
    }

    #[test]
    fn a_task_that_took_over_is_woken_instead_of_the_first() {
        let signal = Arc::new(CloseSignal::new());
        let (first, second, mut closed) = (Arc::<Task>::default(), Arc::<Task>::default(), signal.wait());
        assert!(first.poll(&mut closed).is_pending() && second.poll(&mut closed).is_pending());
        signal.fire(CloseReason::Killed);
        assert_eq!((first.woken(), second.woken()), (0, 1));
    }

    /// A task that looks whether the signal's lock is held when the last reference to it is dropped.
    struct LooksWhenDropped {
        signal: Arc<CloseSignal>,
        unlocked: Arc<AtomicUsize>,
    }

    impl Wake for LooksWhenDropped {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for LooksWhenDropped {
        fn drop(&mut self) {
            let unlocked = usize::from(self.signal.waiting.try_lock().is_ok());
            self.unlocked.fetch_add(unlocked, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_is_dropped_without_the_lock() {
        let signal = Arc::new(CloseSignal::new());
        let unlocked = Arc::<AtomicUsize>::default();
        let mut closed = signal.wait();
        for dropped in 0..3 {
            let task = LooksWhenDropped { signal: signal.clone(), unlocked: unlocked.clone() };
            let waker = Arc::new(task).into();
            // It replaces the waker of the task before, which is gone but for its waker.
            assert!(Pin::new(&mut closed).poll(&mut Context::from_waker(&waker)).is_pending());
            assert_eq!(unlocked.load(Ordering::Relaxed), dropped);
        }
        drop(closed);
        assert_eq!(unlocked.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_task_that_stopped_waiting_is_let_go_and_its_slot_used_again() {
        let signal = Arc::new(CloseSignal::new());
        let mut kept: Vec<_> = (0..INLINE + 2).map(|_| (Arc::<Task>::default(), signal.wait())).collect();
        assert!(kept.iter_mut().all(|(task, closed)| task.poll(closed).is_pending()));
        for (task, closed) in &mut kept {
            *closed = signal.wait();
            assert_eq!(Arc::strong_count(task), 1, "no waker is left");
            assert!(task.poll(closed).is_pending());
        }
        assert_eq!(signal.waiting().more.len(), 2);
        signal.fire(CloseReason::Killed);
        assert!(kept.iter().all(|(task, _)| task.woken() == 1));
    }

    #[test]
    fn a_signal_that_fires_while_tasks_begin_to_wait_misses_none() {
        for _ in 0..200 {
            let signal = Arc::new(CloseSignal::new());
            let fires = std::thread::spawn({
                let signal = signal.clone();
                move || signal.fire(CloseReason::Killed)
            });
            let mut waits: Vec<_> = (0..8).map(|_| (Arc::<Task>::default(), signal.wait())).collect();
            let ready: Vec<_> = waits.iter_mut().map(|(task, closed)| task.poll(closed).is_ready()).collect();
            fires.join().unwrap();
            assert!(waits.iter().zip(ready).all(|((task, _), ready)| ready || task.woken() == 1));
        }
    }
}
