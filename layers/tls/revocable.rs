//! Connections whose client may be let in no more while they are open.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use atomic_waker::AtomicWaker;
use pin_project_lite::pin_project;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{live::Live, recipe::Material};

/// Shared by the future and the stream of a connection: the stream may live elsewhere than the future.
#[derive(Debug, Default)]
pub(super) struct Revocable {
    revoked: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

/// In which direction a stream waits.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Read,
    Write,
}

impl Revocable {
    /// Whether the client is let in no more; if not, this task is woken when it is.
    pub(super) fn is_revoked(&self, direction: Direction, cx: &Context<'_>) -> bool {
        match direction {
            Direction::Read => self.reader.register(cx.waker()),
            Direction::Write => self.writer.register(cx.waker()),
        }
        // After the registration: see `revoke`.
        self.revoked.load(Ordering::Acquire)
    }

    fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }
}

pin_project! {
    /// Resolves when the client of a connection is let in no more.
    pub(super) struct Revoked {
        live: Arc<Live>,
        chain: Vec<CertificateDer<'static>>,
        connection: Arc<Revocable>,
        #[pin]
        superseded: WaitForCancellationFutureOwned,
    }
}

impl Revoked {
    /// For a client with this chain, that was let in by `judged`.
    pub(super) fn new(
        live: Arc<Live>,
        judged: &Material,
        chain: Vec<CertificateDer<'static>>,
        connection: Arc<Revocable>,
    ) -> Self {
        let superseded = judged.superseded.clone().cancelled_owned();
        Self { live, chain, connection, superseded }
    }
}

impl Future for Revoked {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            ready!(this.superseded.as_mut().poll(cx));
            let current = this.live.current();
            if current.judge(this.chain).is_err() {
                this.connection.revoke();
                return Poll::Ready(());
            }
            this.superseded.set(current.superseded.clone().cancelled_owned());
        }
    }
}
