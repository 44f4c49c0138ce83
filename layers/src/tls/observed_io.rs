//! The stream beneath rustls, and what it remembers of what came over it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{delegate::delegate_connection, outcome::CloseReason};

/// The content types of TLS records: change_cipher_spec to heartbeat (RFC 8446, 5.1; RFC 6520, 6).
const CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// What came first from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Nothing.
    Empty,
    /// What may be a TLS record: a content type, and the major version that all of SSL 3 and TLS
    /// share.
    Record,
    /// What is not TLS.
    Other,
}

/// A stream that remembers how the client opened the conversation, whether it closed, and whether
/// it was answered.
#[derive(Debug)]
pub(super) struct ObservedIo<C> {
    io: C,
    first: [u8; 2],
    /// How many of `first` have come.
    seen: u8,
    /// Whether the stream below has ended.
    ended: bool,
    /// What the stream below said, if the last read failed.
    failed: Option<io::Error>,
    /// Whether anything was sent to the client, or at least tried.
    answered: bool,
}

impl<C> ObservedIo<C> {
    pub(super) const fn new(io: C) -> Self {
        Self { io, first: [0; 2], seen: 0, ended: false, failed: None, answered: false }
    }

    pub(super) const fn get_ref(&self) -> &C {
        &self.io
    }

    pub(super) const fn get_mut(&mut self) -> &mut C {
        &mut self.io
    }

    pub(super) fn into_inner(self) -> C {
        self.io
    }

    pub(super) const fn ended(&self) -> bool {
        self.ended
    }

    /// The error of the stream below once more, if the last read failed: its kind, and its number
    /// or its reason.
    pub(super) fn failed(&self) -> Option<io::Error> {
        self.failed.as_ref().map(again)
    }

    pub(super) const fn answered(&self) -> bool {
        self.answered
    }

    pub(super) fn opening(&self) -> Opening {
        match &self.first[..usize::from(self.seen)] {
            [] => Opening::Empty,
            [content_type] | [content_type, 3] if CONTENT_TYPES.contains(content_type) => Opening::Record,
            _ => Opening::Other,
        }
    }

    /// Takes note of what one read brought.
    fn note(&mut self, bytes: &[u8]) {
        self.ended = bytes.is_empty();
        self.failed = None;
        for (byte, place) in bytes.iter().zip(&mut self.first[usize::from(self.seen)..]) {
            *place = *byte;
            self.seen += 1;
        }
    }
}

/// An error like this one. It cannot be cloned, for it may carry anything; a reason is all that is
/// kept of that.
fn again(error: &io::Error) -> io::Error {
    if let Some(number) = error.raw_os_error() {
        return io::Error::from_raw_os_error(number);
    }
    match error.get_ref().and_then(|carried| carried.downcast_ref::<CloseReason>()) {
        Some(reason) => io::Error::new(error.kind(), *reason),
        None => error.kind().into(),
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: AsyncRead + Unpin> AsyncRead for ObservedIo<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) => self.note(&buf.filled()[before..]),
            Poll::Ready(Err(error)) => self.failed = Some(again(error)),
            Poll::Pending => {}
        }
        polled
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: AsyncWrite + Unpin> AsyncWrite for ObservedIo<C> {
    delegate_connection!(io: is_write_vectored, poll_flush, poll_shutdown);

    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.answered = true;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.answered = true;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
