//! Connections whose client may be let in no more while they are open.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use atomic_waker::AtomicWaker;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{ClientIdentity, HandshakeFailure, Revoked, live::Live, recipe::Material};
use crate::{error::BoxError, outcome::CloseReason};

/// Shared by the future and the stream of a connection, which may be polled by several tasks, and either may outlive the
/// other. When others are trusted, all of them are woken, and the first to come judges the client again.
pub(super) struct Revocable {
    bell: Arc<Bell>,
    /// Once it is.
    revoked: OnceLock<Option<Revoked>>,
    watch: Mutex<Watch>,
}

/// Who waits.
#[derive(Clone, Copy)]
pub(super) enum Waits {
    Future,
    Reader,
    Writer,
}

struct Watch {
    live: Arc<Live>,
    /// The client's own certificate first.
    chain: Vec<CertificateDer<'static>>,
    /// Comes when others are trusted than those who judged the client last.
    superseded: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Rings when others are trusted. Apart from the rest, because `Watch::superseded` holds it.
#[derive(Default)]
struct Bell {
    /// It has rung, and the client was not judged again yet.
    rung: AtomicBool,
    future: AtomicWaker,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Revocable {
    /// For a client with this chain, that was let in by `judged`.
    pub(super) fn new(live: Arc<Live>, judged: &Material, chain: Vec<CertificateDer<'static>>) -> Self {
        let superseded = Box::pin(judged.superseded.clone().cancelled_owned());
        let watch = Mutex::new(Watch { live, chain, superseded });
        let this = Self { bell: Arc::default(), revoked: OnceLock::new(), watch };
        // Hangs up the bell.
        this.judge_again();
        this
    }

    /// Whether the client is let in no more.
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.get().is_some() || (self.bell.rung.load(Ordering::Acquire) && self.judge_again())
    }

    /// What to say of it, once it is.
    pub(super) fn reason(&self) -> BoxError {
        match self.revoked.get() {
            Some(Some(revoked)) => revoked.clone().into(),
            // What cannot be read any more was no client.
            _ => CloseReason::Revoked.into(),
        }
    }

    /// As [`is_revoked`](Self::is_revoked); if it is let in, this task is woken when that is to be asked again.
    pub(super) fn is_revoked_or_waits(&self, who: Waits, cx: &Context<'_>) -> bool {
        self.bell.waker(who).register(cx.waker());
        // After the registration: otherwise the bell could ring in between, and nobody would be woken.
        self.is_revoked()
    }

    /// Nobody waits for it any more: a waker holds the memory of its task.
    pub(super) fn forget(&self, who: Waits) {
        self.bell.waker(who).take();
    }

    fn judge_again(&self) -> bool {
        // Who comes second waits for the judgement of the first.
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if self.revoked.get().is_some() {
            return true;
        }
        // Before the poll, from which on it may ring again.
        self.bell.rung.store(false, Ordering::Release);
        let waker = Waker::from(self.bell.clone());
        while watch.superseded.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            let current = watch.live.current();
            if let Err(error) = current.judge(&watch.chain) {
                let client = watch.chain.first().and_then(ClientIdentity::of);
                let failure = HandshakeFailure::of_session(&error);
                // Nobody else sets it: the lock is ours.
                _ = self.revoked.set(client.map(|client| Revoked::new(client, failure)));
                self.bell.wake_all();
                return true;
            }
            watch.superseded.set(current.superseded.clone().cancelled_owned());
        }
        false
    }
}

impl Bell {
    const fn waker(&self, who: Waits) -> &AtomicWaker {
        match who {
            Waits::Future => &self.future,
            Waits::Reader => &self.reader,
            Waits::Writer => &self.writer,
        }
    }

    fn wake_all(&self) {
        self.future.wake();
        self.reader.wake();
        self.writer.wake();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.wake_all();
    }
}
