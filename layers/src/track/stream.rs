//! The stream of a tracked connection.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Activity, entry::Entry};
use crate::{
    address::Peer,
    close_signal::Waiter,
    connection::{Connection, ConnectionEvent},
    delegate::delegate_connection,
    drain::Drain,
    outcome::CloseReason,
};

/// A stream whose connection is in the list of a [`Tracker`](super::Tracker) for as long as the
/// stream exists.
///
/// When the connection was closed from outside, every read, write, flush and shutdown fails with an
/// [`io::Error`] of the kind [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) that carries
/// the [`CloseReason`](crate::CloseReason), and a task that waits in one is woken. The stream
/// should then be dropped; an inner TLS session still sends close_notify.
pub struct Tracked<C> {
    // Declared before the entry: the socket is closed before the connection counts as closed.
    inner: C,
    guard: Guard,
    // Counted here and copied into the entry, which costs no more than a store.
    read: u64,
    written: u64,
    // What the last attempts came to.
    read_waits: bool,
    write_waits: bool,
    // What is written now is the end of a session above: it may be said of a connection that was ended, too.
    closing: AtomicBool,
}

/// The entry, and the tasks that wait in a read and in a write (or a flush, or a shutdown). They
/// may be two.
struct Guard {
    entry: Arc<Entry>,
    reader: Waiter,
    writer: Waiter,
}

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Self { entry, reader, writer } = self;
        entry.close.forget(reader);
        entry.close.forget(writer);
    }
}

impl<C> Tracked<C> {
    pub(super) const fn new(inner: C, entry: Arc<Entry>) -> Self {
        Self {
            inner,
            guard: Guard { entry, reader: Waiter::new(), writer: Waiter::new() },
            read: 0,
            written: 0,
            read_waits: false,
            write_waits: false,
            closing: AtomicBool::new(false),
        }
    }

    /// The number of the connection in the list.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.guard.entry.id
    }

    /// The name of the listener that the connection came from, if the layer was given one.
    #[must_use]
    pub fn listener(&self) -> Option<&str> {
        self.guard.entry.listener.as_deref()
    }

    /// The stream below.
    #[must_use]
    pub const fn get_ref(&self) -> &C {
        &self.inner
    }

    /// The inner stream. Bytes that are read and written through it are not counted, and closing
    /// the connection does not stop it.
    pub const fn get_mut(&mut self) -> &mut C {
        &mut self.inner
    }

    /// Consumes the wrapper and its **guard**, and returns the inner stream. When the future of
    /// `call` has finished, the connection is no longer in the list: [`Tracker`](super::Tracker)
    /// does not wait for the stream and cannot close it.
    #[must_use]
    pub fn into_inner(self) -> C {
        self.inner
    }

    fn note_read<T>(&mut self, result: &Poll<T>) {
        self.read_waits = result.is_pending();
        self.publish_activity();
    }

    fn note_write<T>(&mut self, result: &Poll<T>) {
        self.write_waits = result.is_pending();
        self.publish_activity();
    }

    fn note_written(&mut self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = result {
            self.written += *count as u64;
            self.guard.entry.set_written(self.written);
        }
        self.note_write(result);
    }

    fn publish_activity(&self) {
        self.guard.entry.streaming(match (self.write_waits, self.read_waits) {
            // A service that waits for both is held up by the peer that does not take.
            (true, _) => Activity::Writing,
            (false, true) => Activity::Reading,
            (false, false) => Activity::Working,
        });
    }
}

impl<C: Connection> Tracked<C> {
    /// An error, if the connection was closed from outside. The streams below are told: they see
    /// nothing but that nobody asks them any more.
    fn still_open(&self) -> io::Result<()> {
        self.guard.entry.close.fired().map_or(Ok(()), |reason| self.closed(reason))
    }

    fn closed(&self, reason: CloseReason) -> io::Result<()> {
        if self.closing.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.inner.on_event(&ConnectionEvent::Ended(reason));
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason))
    }

    /// What to return where the stream below returned `result`: if it waits, closing the connection
    /// wakes the task.
    fn or_closed<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_pending() {
            let Guard { entry, reader, writer } = &mut self.guard;
            let waiter = match direction {
                Direction::Read => reader,
                Direction::Write => writer,
            };
            if let Poll::Ready(reason) = entry.close.poll(waiter, cx) {
                self.closed(reason)?;
            }
        }
        result
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> AsyncRead for Tracked<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.still_open()?;
        let before = buf.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, buf);
        this.read += (buf.filled().len() - before) as u64;
        this.guard.entry.set_read(this.read);
        this.note_read(&result);
        this.or_closed(result, Direction::Read, cx)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> AsyncWrite for Tracked<C> {
    delegate_connection!(inner: is_write_vectored);

    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.still_open()?;
        let result = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.note_written(&result);
        this.or_closed(result, Direction::Write, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.still_open()?;
        let result = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.note_written(&result);
        this.or_closed(result, Direction::Write, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.still_open()?;
        let result = Pin::new(&mut this.inner).poll_flush(cx);
        this.note_write(&result);
        this.or_closed(result, Direction::Write, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.still_open()?;
        let result = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.note_write(&result);
        this.or_closed(result, Direction::Write, cx)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> Connection for Tracked<C> {
    delegate_connection!(inner: local, tls);

    /// As it was when the connection was opened; the stream below is not asked again.
    fn peer(&self) -> Peer {
        self.guard.entry.peer
    }

    /// The tracker's signal, or that of the stream below, whichever is first.
    fn drain(&self) -> Drain {
        self.guard.entry.tracker().drain().or(self.inner.drain())
    }

    fn on_event(&self, event: &ConnectionEvent<'_>) {
        match event {
            ConnectionEvent::HandshakeStarted => self.guard.entry.set_activity(Activity::Handshaking),
            ConnectionEvent::HandshakeCompleted { tls, .. } => {
                self.guard.entry.set_activity(Activity::Working);
                self.guard.entry.secured(tls);
            }
            ConnectionEvent::Closing => self.closing.store(true, Ordering::Relaxed),
            ConnectionEvent::PeerDone | ConnectionEvent::Ended(_) => {}
        }
        self.inner.on_event(event);
    }
}

impl<C: fmt::Debug> fmt::Debug for Tracked<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked")
            .field("io", &self.inner)
            .field("id", &self.guard.entry.id)
            .field("read", &self.read)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}
