//! The stream of a metered connection.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{label::Direction, life::Life};
use crate::{
    connection::{Connection, ConnectionEvent},
    delegate::delegate_connection,
    outcome::CloseReason,
};

/// A stream whose bytes are counted, and whose connection counts as active for as long as the
/// stream exists.
///
/// Byte counts are added to `connection_bytes_total` when the stream has to wait, when 64 KiB have
/// accumulated, and when the stream is dropped. So the totals are current, and a busy stream does
/// not update them at every read.
pub struct Metered<C> {
    // Declared before the meter: the socket is closed before the connection counts as closed.
    inner: C,
    meter: Meter,
}

/// Apart from the stream, so that it can be dropped by itself when the stream is given back.
struct Meter {
    life: Arc<Life>,
    // Not published yet.
    read: u64,
    written: u64,
}

/// So much is kept from the totals at most, in bytes.
const UNPUBLISHED: u64 = 64 * 1024;

impl<C> Metered<C> {
    pub(super) const fn new(inner: C, life: Arc<Life>) -> Self {
        Self { inner, meter: Meter { life, read: 0, written: 0 } }
    }

    /// The stream below.
    #[must_use]
    pub const fn get_ref(&self) -> &C {
        &self.inner
    }

    /// The stream below. What is read and written through it is not counted.
    pub fn get_mut(&mut self) -> &mut C {
        self.meter.life.given();
        &mut self.inner
    }

    /// Consumes the wrapper, and returns the inner stream. Its bytes are no longer counted, and the
    /// connection counts as closed when the future of `call` has finished.
    #[must_use]
    pub fn into_inner(self) -> C {
        self.meter.life.given();
        self.inner
    }
}

impl Meter {
    fn note<T>(&mut self, result: &Poll<io::Result<T>>) {
        match result {
            Poll::Pending => self.publish(),
            Poll::Ready(Err(error)) => self.life.failed(error),
            Poll::Ready(Ok(_)) => {
                if self.read + self.written >= UNPUBLISHED {
                    self.publish();
                }
            }
        }
    }

    fn note_written(&mut self, result: &Poll<io::Result<usize>>, asked: bool) {
        match result {
            // It takes nothing any more; whoever writes makes an error of it (`WriteZero`).
            Poll::Ready(Ok(0)) if asked => self.life.ended(CloseReason::Io),
            Poll::Ready(Ok(count)) => self.written += *count as u64,
            _ => {}
        }
        self.note(result);
    }

    fn publish(&mut self) {
        let bytes = &self.life.series().bytes;
        if self.read > 0 {
            bytes.add(Direction::Read, self.read);
            self.read = 0;
        }
        if self.written > 0 {
            bytes.add(Direction::Written, self.written);
            self.written = 0;
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.publish();
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> AsyncRead for Metered<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, buf);
        let count = buf.filled().len() - before;
        this.meter.read += count as u64;
        // Nothing where there was room for something.
        if count == 0 && buf.remaining() > 0 && matches!(result, Poll::Ready(Ok(()))) {
            this.meter.life.eof();
        }
        this.meter.note(&result);
        result
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> AsyncWrite for Metered<C> {
    delegate_connection!(inner: is_write_vectored);

    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.meter.note_written(&result, !buf.is_empty());
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.meter.note_written(&result, bufs.iter().any(|buf| !buf.is_empty()));
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_flush(cx);
        this.meter.note(&result);
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.meter.note(&result);
        result
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> Connection for Metered<C> {
    delegate_connection!(inner: peer, local, tls, drain);

    fn on_event(&self, event: &ConnectionEvent<'_>) {
        match event {
            ConnectionEvent::HandshakeStarted => self.meter.life.handshake_started(),
            ConnectionEvent::HandshakeCompleted { tls, took } => {
                self.meter.life.handshake_completed(tls, *took);
            }
            ConnectionEvent::PeerDone => self.meter.life.eof(),
            ConnectionEvent::Ended(reason) => self.meter.life.ended(*reason),
            ConnectionEvent::Closing => self.meter.life.closing(),
        }
        self.inner.on_event(event);
    }
}

impl<C: fmt::Debug> fmt::Debug for Metered<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("io", &self.inner).finish_non_exhaustive()
    }
}
