//! One direction of the channel: a Unix stream socket, seen as whole messages.

use std::collections::VecDeque;

/// What the predecessor sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Down {
    /// With the descriptors.
    Manifest,
    Commit,
    Abort,
    /// The predecessor has let go, and a restart was requested.
    Restart,
}

/// What the successor sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Up {
    Hello,
    /// And the claim before it.
    Ready,
    Serving,
    Settled,
    Sick,
}

/// Messages in order; what was sent before the sender's end stays readable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pipe<M> {
    messages: VecDeque<M>,
    writer_open: bool,
    reader_open: bool,
}

impl<M: PartialEq> Pipe<M> {
    pub(super) fn new() -> Self {
        Self { messages: VecDeque::new(), writer_open: true, reader_open: true }
    }

    /// Nothing comes of it if one of the ends is closed (`EPIPE`).
    pub(super) fn send(&mut self, message: M) {
        if self.writer_open && self.reader_open {
            self.messages.push_back(message);
        }
    }

    /// Whether there is a message, or the end.
    pub(super) fn is_readable(&self) -> bool {
        self.reader_open && (!self.messages.is_empty() || !self.writer_open)
    }

    /// The next message; `None` is the end.
    pub(super) fn read(&mut self) -> Option<M> {
        self.messages.pop_front()
    }

    /// Keeps a message that was read for the next [`read`](Self::read).
    pub(super) fn unread(&mut self, message: M) {
        self.messages.push_front(message);
    }

    /// Whether this message is in it, unread.
    pub(super) fn holds(&self, message: &M) -> bool {
        self.messages.contains(message)
    }

    pub(super) fn close_writer(&mut self) {
        self.writer_open = false;
    }

    /// What was not read is lost, with the descriptors in it.
    pub(super) fn close_reader(&mut self) {
        self.reader_open = false;
        self.messages.clear();
    }
}
