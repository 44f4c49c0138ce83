//! One direction of the channel: a Unix stream socket, seen as whole messages.

use std::collections::VecDeque;

/// What the predecessor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Down {
    /// With the descriptors.
    Manifest,
    Commit,
    Abort,
}

/// What the successor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Up {
    Hello,
    /// And the claim before it.
    Ready,
    Serving,
    Settled,
    Sick,
}

/// Messages in order; what was sent before the sender's end stays readable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pipe<M> {
    messages: VecDeque<M>,
    writer_open: bool,
    reader_open: bool,
}

impl<M: PartialEq> Pipe<M> {
    pub(crate) fn new() -> Self {
        Self { messages: VecDeque::new(), writer_open: true, reader_open: true }
    }

    /// Nothing comes of it if one of the ends is closed (`EPIPE`).
    pub(crate) fn send(&mut self, message: M) {
        if self.writer_open && self.reader_open {
            self.messages.push_back(message);
        }
    }

    /// Whether there is a message, or the end.
    pub(crate) fn is_readable(&self) -> bool {
        self.reader_open && (!self.messages.is_empty() || !self.writer_open)
    }

    /// The next message; `None` is the end.
    pub(crate) fn read(&mut self) -> Option<M> {
        self.messages.pop_front()
    }

    /// Whether this message is in it, unread.
    pub(crate) fn holds(&self, message: &M) -> bool {
        self.messages.contains(message)
    }

    pub(crate) fn close_writer(&mut self) {
        self.writer_open = false;
    }

    /// What was not read is lost, with the descriptors in it.
    pub(crate) fn close_reader(&mut self) {
        self.reader_open = false;
        self.messages.clear();
    }
}
