//! The stream above TLS.

use std::{
    error::Error,
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{
    rustls::{self, pki_types::CertificateDer},
    server,
};

use super::{close_notify::CloseNotifyOnDrop, info, observed_io::ObservedIo, revocable::Revocable};
use crate::{
    address::{LocalAddress, Peer},
    connection::{Connection, ConnectionEvent},
    drain::Drain,
    outcome::{CloseReason, Explained, Outcome},
    tls_info::TlsInfo,
};

/// A connection whose TLS handshake is complete; what is read and written is the plain text.
///
/// The session lives in one `Box`, so that the layers above move a pointer, not a kilobyte.
///
/// # How it ends
///
/// - The client's close_notify is the end of what can be read (`Ok(0)`); writing goes on.
/// - [`AsyncWrite::poll_shutdown`] sends close_notify and shuts the inner stream down for writing;
///   reading continues.
/// - If a client closes the TCP connection without close_notify, an attacker may have truncated the
///   data (RFC 8446, 6.1). The data before that is delivered, then reading fails with
///   [`io::ErrorKind::UnexpectedEof`] that carries [`CloseReason::TlsTruncated`]. Many clients omit
///   close_notify; a service whose protocol delimits its messages may treat this as the end of the
///   stream.
/// - If the client is no longer allowed and
///   [`TlsBuilder::end_revoked`](super::TlsBuilder::end_revoked) is set, reading and writing fail
///   with an [`io::Error`] of the kind [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) that
///   carries [`CloseReason::Revoked`], and tasks that wait in one are woken.
/// - Dropping it sends close_notify if that was not done before, after all data that was written
///   but not flushed, as far as the inner stream accepts it without waiting. So a client can
///   distinguish a close by the server (including one at the deadline of a drain, by an operator,
///   or for [`CloseReason::Revoked`]) from a truncation by an attacker. It does *not* mean that the
///   service has sent all its data: the protocol must delimit its messages. A service that panics
///   sends no close_notify.
pub struct TlsStream<C> {
    inner: Box<Inner<C>>,
}

struct Inner<C> {
    tls: CloseNotifyOnDrop<C>,
    info: TlsInfo,
    /// Where the client may be revoked while this is open.
    revocable: Option<Tasks>,
}

/// The task that reads, and the one that writes.
struct Tasks {
    reader: Revocable,
    writer: Revocable,
}

#[derive(Clone, Copy)]
enum Task {
    Reader,
    Writer,
}

impl<C> TlsStream<C> {
    /// The negotiated parameters.
    #[must_use]
    pub fn info(&self) -> &TlsInfo {
        &self.inner.info
    }

    /// The client's certificates as it sent them, its own first. `None` if it sent none, or was not
    /// asked for one.
    ///
    /// They are present only if they were **verified**: the verifier of the configuration has
    /// accepted them (see [`ClientAuth`](super::ClientAuth)), and the client has proved that it
    /// holds the private key. An invalid certificate fails the handshake, even if certificates are
    /// optional.
    #[must_use]
    pub fn client_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.inner.tls.get_ref().1.peer_certificates()
    }

    /// The stream below. What is read from it is encrypted.
    #[must_use]
    pub fn get_ref(&self) -> &C {
        self.inner.tls.get_ref().0.get_ref()
    }

    /// The stream below. Reading from it or writing to it breaks the TLS session.
    pub fn get_mut(&mut self) -> &mut C {
        self.inner.tls.get_mut().0.get_mut()
    }

    /// Gives back the stream below. **The TLS session is lost**, with its keys and with what it had
    /// read ahead: nobody can make sense of what comes over the stream afterwards.
    #[must_use]
    pub fn into_inner(self) -> C {
        self.inner.tls.into_session().into_inner().0.into_inner()
    }

    pub(super) fn end_with(&mut self, revocable: &Revocable) {
        let (reader, writer) = (revocable.for_another_task(), revocable.for_another_task());
        self.inner.revocable = Some(Tasks { reader, writer });
    }

    fn revocable(&mut self, task: Task) -> Option<&mut Revocable> {
        let tasks = self.inner.revocable.as_mut()?;
        Some(match task {
            Task::Reader => &mut tasks.reader,
            Task::Writer => &mut tasks.writer,
        })
    }

    /// For the `poll` methods.
    fn pinned(&mut self) -> Pin<&mut server::TlsStream<ObservedIo<C>>>
    where
        C: Unpin,
    {
        Pin::new(&mut *self.inner.tls)
    }
}

impl<C: Connection> TlsStream<C> {
    /// `None` if nothing was agreed, which a handshake that is complete rules out.
    pub(super) fn new(tls: server::TlsStream<ObservedIo<C>>) -> Option<Self> {
        let info = info::of(tls.get_ref().1)?;
        let tls = CloseNotifyOnDrop::new(tls);
        Some(Self { inner: Box::new(Inner { tls, info, revocable: None }) })
    }

    /// An error, if the client is revoked. The streams below are notified, for they see only that
    /// they are no longer polled.
    fn still_allowed(&mut self, task: Task) -> io::Result<()> {
        match self.revocable(task).and_then(Revocable::revoked) {
            Some(_) => Err(self.revoked()),
            None => Ok(()),
        }
    }

    /// What to return where the stream below returned `result`: a task that waits is woken when the
    /// client is revoked.
    fn or_revoked<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        task: Task,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            return result;
        }
        match self.revocable(task).and_then(|revocable| revocable.poll_revoked(cx)) {
            Some(_) => Poll::Ready(Err(self.revoked())),
            None => Poll::Pending,
        }
    }

    fn revoked(&self) -> io::Error {
        self.get_ref().on_event(&ConnectionEvent::Ended(CloseReason::Revoked));
        io::Error::new(io::ErrorKind::ConnectionAborted, CloseReason::Revoked)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> AsyncRead for TlsStream<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.still_allowed(Task::Reader)?;
        let before = buf.filled().len();
        let result = self.pinned().poll_read(cx, buf);
        let Poll::Ready(result) = result else { return self.or_revoked(result, Task::Reader, cx) };
        let io = self.inner.tls.get_ref().0;
        match result {
            Ok(()) if buf.filled().len() == before && buf.remaining() > 0 => {
                // tokio-rustls takes the first `ConnectionAborted` for the end, and says `Ok` from
                // then on.
                if let Some(error) = io.failed() {
                    return Poll::Ready(Err(error));
                }
                self.get_ref().on_event(&ConnectionEvent::PeerDone);
                Poll::Ready(Ok(()))
            }
            // rustls says so by the kind and a text; that the stream below ended tells it from an
            // error of the same kind that a stream below came up with.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && io.ended() => {
                self.get_ref().on_event(&ConnectionEvent::Ended(CloseReason::TlsTruncated));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, CloseReason::TlsTruncated)))
            }
            Err(error) => {
                let kind = error.kind();
                // The stream below has seen nothing wrong with this record.
                if error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>) {
                    self.get_ref().on_event(&ConnectionEvent::Ended(CloseReason::Io));
                    let outcome = Outcome::Closed(CloseReason::Io);
                    let carried = error.into_inner().expect("it carries an error of rustls");
                    let explained = Explained::new(outcome, carried);
                    return Poll::Ready(Err(io::Error::new(kind, explained)));
                }
                Poll::Ready(Err(error))
            }
            Ok(()) => Poll::Ready(Ok(())),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> AsyncWrite for TlsStream<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.still_allowed(Task::Writer)?;
        let result = self.pinned().poll_write(cx, buf);
        self.or_revoked(result, Task::Writer, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.still_allowed(Task::Writer)?;
        let result = self.pinned().poll_flush(cx);
        self.or_revoked(result, Task::Writer, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.still_allowed(Task::Writer)?;
        let result = self.pinned().poll_shutdown(cx);
        self.or_revoked(result, Task::Writer, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.still_allowed(Task::Writer)?;
        let result = self.pinned().poll_write_vectored(cx, bufs);
        self.or_revoked(result, Task::Writer, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.tls.is_write_vectored()
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> Connection for TlsStream<C> {
    fn peer(&self) -> Peer {
        self.get_ref().peer()
    }

    fn local(&self) -> LocalAddress {
        self.get_ref().local()
    }

    fn tls(&self) -> Option<&TlsInfo> {
        Some(self.info())
    }

    fn drain(&self) -> Drain {
        self.get_ref().drain()
    }

    fn on_event(&self, event: &ConnectionEvent<'_>) {
        self.get_ref().on_event(event);
    }
}

/// The stream below and the [`TlsInfo`]; no keys.
impl<C: fmt::Debug> fmt::Debug for TlsStream<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("io", self.get_ref()).field("tls", self.info()).finish()
    }
}
