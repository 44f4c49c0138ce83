//! How messages and descriptors travel: frames over a Unix stream socket.
//!
//! A frame is its length in bytes (four bytes, big-endian) and then the message as JSON. Descriptors travel as
//! `SCM_RIGHTS` (unix(7)) with the first byte of the frame that announces them, at most
//! [`MAX_DESCRIPTORS`] a frame. What was received is sorted in [`inbox`](super::inbox).

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::Interest, net::UnixStream};

use super::{inbox::Inbox, message::Message};
use crate::sys::{self, MAX_DESCRIPTORS, within};

/// Why the other side cannot be talked to any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ChannelError {
    #[error("the other process closed the handoff socket")]
    Closed,
    #[error("the other process does not speak the handoff protocol: {0}")]
    Garbled(String),
    #[error(
        "descriptors were lost on the way: the limit of open files of this process is too low (see RLIMIT_NOFILE)"
    )]
    DescriptorsLost,
    #[error("the handoff socket failed")]
    Io(#[from] io::Error),
}

/// One end of the conversation. Dropping it closes the socket, and sends nothing.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: UnixStream,
    inbox: Inbox,
    /// Frames that were queued and not sent yet.
    outbox: Vec<u8>,
}

/// The half of a [`Channel`] that sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    stream: &'a UnixStream,
}

/// The half of a [`Channel`] that receives.
#[derive(Debug)]
pub(crate) struct Receiver<'a> {
    stream: &'a UnixStream,
    inbox: &'a mut Inbox,
}

impl Channel {
    /// An end that may be sent descriptors: the successor's.
    pub(crate) fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        // Two messages full may be on the way before the first is read.
        Self::welcoming(2 * MAX_DESCRIPTORS, stream)
    }

    /// An end that is sent none: the predecessor's.
    pub(crate) fn without_descriptors(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        Self::welcoming(0, stream)
    }

    fn welcoming(welcome: usize, stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        Ok(Self { stream, inbox: Inbox::new(welcome), outbox: Vec::new() })
    }

    /// Refuses messages that are longer than so many bytes. Default: [`LONGEST_FRAME`](super::LONGEST_FRAME).
    #[cfg(feature = "control")]
    pub(crate) const fn set_longest(&mut self, bytes: usize) {
        self.inbox.set_longest(bytes);
    }

    /// Both halves, to send and receive at the same time.
    pub(crate) const fn split(&mut self) -> (Sender<'_>, Receiver<'_>) {
        let Self { stream, inbox, .. } = self;
        (Sender { stream }, Receiver { stream, inbox })
    }

    /// See [`Sender::send`].
    pub(crate) async fn send(&mut self, message: &impl Serialize) -> Result<(), ChannelError> {
        self.split().0.send(message).await
    }

    /// Sends a message now as far as there is room, and the rest while [`exchange`](Self::exchange)
    /// or [`flush`](Self::flush) is polled. A socket that is closed takes it without an error: the
    /// end is found by reading.
    pub(crate) fn queue(&mut self, message: &Message) -> Result<(), ChannelError> {
        #[cfg_attr(not(feature = "__faults"), expect(unused_mut, reason = "only faults change it"))]
        let mut frame = encode(message)?;
        #[cfg(feature = "__faults")]
        crate::faults::tamper(&mut frame[super::inbox::HEADER..], &self.stream)?;
        self.outbox.extend_from_slice(&frame);
        send_queued(&self.stream, &mut self.outbox)
    }

    /// Whether a part of what was queued is not sent yet.
    pub(crate) const fn has_queued(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Sends what is queued. Cancel safe.
    pub(crate) async fn flush(&mut self) -> Result<(), ChannelError> {
        flush(&self.stream, &mut self.outbox).await
    }

    /// Receives the next message, and meanwhile sends what is queued. Cancel safe.
    pub(crate) async fn exchange(&mut self) -> Result<Message, ChannelError> {
        let Self { stream, inbox, outbox } = self;
        let mut receiver = Receiver { stream, inbox };
        if let Some(message) = receiver.try_receive()? {
            return Ok(message);
        }
        if !outbox.is_empty() {
            tokio::select! {
                biased;
                received = receiver.receive() => return received,
                flushed = flush(stream, outbox) => flushed?,
            }
        }
        receiver.receive().await
    }

    /// The next message that lies in the socket, whether or not the runtime has heard of it.
    pub(crate) fn try_receive(&mut self) -> Result<Option<Message>, ChannelError> {
        self.split().1.try_receive()
    }

    /// See [`Receiver::receive`].
    pub(crate) async fn receive(&mut self) -> Result<Message, ChannelError> {
        self.split().1.receive().await
    }

    /// See [`Receiver::receive_any`].
    #[cfg(feature = "control")]
    pub(crate) async fn receive_any<M: DeserializeOwned>(&mut self) -> Result<M, ChannelError> {
        self.split().1.receive_any().await
    }

    /// Waits until the other side has closed the socket; a half-close is none. What it has sent stays
    /// unread. Cancel safe.
    #[cfg(feature = "control")]
    pub(crate) async fn closed(&self) {
        use rustix::{
            event::{PollFd, PollFlags, Timespec, poll},
            io::retry_on_intr,
        };
        let hung_up = || {
            let mut polled = [PollFd::new(&self.stream, PollFlags::empty())];
            match retry_on_intr(|| poll(&mut polled, Some(&Timespec::default())))? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        };
        // Not `READABLE`: after a half-close that readiness cannot be cleared. An error of poll(2) is of
        // a connection that is of no use, too.
        _ = self.stream.async_io(Interest::WRITABLE, hung_up).await;
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Sender<'_> {
    /// Sends one message. Not cancel safe: a frame may stay half written, so the channel is of no use after that.
    pub(crate) async fn send(self, message: &impl Serialize) -> Result<(), ChannelError> {
        self.send_frame(message, &[]).await
    }

    /// Sends descriptors, as many messages as it takes. Not cancel safe.
    pub(crate) async fn send_descriptors(self, descriptors: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        for batch in descriptors.chunks(MAX_DESCRIPTORS) {
            self.send_frame(&Message::Descriptors { count: batch.len() }, batch).await?;
        }
        Ok(())
    }

    async fn send_frame(
        self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        #[cfg_attr(not(feature = "__faults"), expect(unused_mut, reason = "only faults change it"))]
        let mut frame = encode(message)?;
        #[cfg(feature = "__faults")]
        crate::faults::tamper(&mut frame[super::inbox::HEADER..], self.stream)?;

        let stream = self.stream;
        let write = || sys::send(stream.as_fd(), &frame, descriptors);
        // At once, if there is room. The runtime hears a moment later that a new socket has some; meanwhile the successor would be
        // started, and if we died then, it would have nothing.
        let sent = match write() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stream.async_io(Interest::WRITABLE, write).await
            }
            sent => sent,
        };
        let mut sent = sent.map_err(closed_or_io)?;
        while sent < frame.len() {
            let write = || sys::send(stream.as_fd(), &frame[sent..], &[]);
            sent += stream.async_io(Interest::WRITABLE, write).await.map_err(closed_or_io)?;
        }
        Ok(())
    }
}

/// Sends what is queued, as far as there is room.
fn send_queued(stream: &UnixStream, outbox: &mut Vec<u8>) -> Result<(), ChannelError> {
    while !outbox.is_empty() {
        match sys::send(stream.as_fd(), outbox, &[]) {
            Ok(sent) => _ = outbox.drain(..sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                outbox.clear();
                return match closed_or_io(error) {
                    ChannelError::Closed => Ok(()),
                    error => Err(error),
                };
            }
        }
    }
    Ok(())
}

async fn flush(stream: &UnixStream, outbox: &mut Vec<u8>) -> Result<(), ChannelError> {
    while !outbox.is_empty() {
        match stream.async_io(Interest::WRITABLE, || sys::send(stream.as_fd(), outbox, &[])).await {
            Ok(sent) => _ = outbox.drain(..sent),
            Err(error) => {
                outbox.clear();
                return match closed_or_io(error) {
                    ChannelError::Closed => Ok(()),
                    error => Err(error),
                };
            }
        }
    }
    Ok(())
}

/// A message as it travels.
fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    Ok([&length.to_be_bytes()[..], &body].concat())
}

impl Receiver<'_> {
    /// Receives the next message that this version knows. Cancel safe.
    pub(crate) async fn receive(&mut self) -> Result<Message, ChannelError> {
        loop {
            match self.receive_any().await? {
                // Written by a newer version of this library: not for us.
                Message::Unknown => {}
                message => return Ok(message),
            }
        }
    }

    /// Receives the next message, of whatever conversation this is. Cancel safe.
    pub(crate) async fn receive_any<M: DeserializeOwned>(&mut self) -> Result<M, ChannelError> {
        loop {
            match self.inbox.next_frame()? {
                Some(message) => return Ok(message),
                None => self.fill().await?,
            }
        }
    }

    /// As [`receive`](Self::receive), but `None` if there is nothing within `limit` of running time. Cancel safe.
    ///
    /// What the other side has written before the end of `limit` counts, whether or not the runtime has heard of it: a
    /// decision that is in the socket must not be undone by a timer.
    pub(crate) async fn receive_within(&mut self, limit: Duration) -> Result<Option<Message>, ChannelError> {
        match within(limit, self.receive()).await {
            Some(received) => received.map(Some),
            None => self.try_receive(),
        }
    }

    /// The next message that lies in the socket, whether or not the runtime has heard of it.
    pub(crate) fn try_receive(&mut self) -> Result<Option<Message>, ChannelError> {
        loop {
            match self.inbox.next_frame()? {
                Some(Message::Unknown) => {}
                Some(message) => return Ok(Some(message)),
                None if self.fill_at_once()? => {}
                None => return Ok(None),
            }
        }
    }

    /// Takes the descriptors that came with a [`Message::Descriptors`].
    pub(crate) fn take_descriptors(&mut self, count: usize) -> Result<Vec<OwnedFd>, ChannelError> {
        self.inbox.take_descriptors(count)
    }

    /// Takes in what is there now, whether or not the runtime has heard of it. `false`: nothing is.
    fn fill_at_once(&mut self) -> Result<bool, ChannelError> {
        let mut buffer = [0; 4096];
        match sys::receive(self.stream.as_fd(), &mut buffer) {
            Ok(received) => self.inbox.take_in(received, &buffer).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(closed_or_io(error)),
        }
    }

    async fn fill(&mut self) -> Result<(), ChannelError> {
        let mut buffer = [0; 4096];
        let stream = self.stream;
        let received = stream
            .async_io(Interest::READABLE, || sys::receive(stream.as_fd(), &mut buffer))
            .await
            .map_err(closed_or_io)?;
        self.inbox.take_in(received, &buffer)
    }
}

/// A process that died with unread messages resets the socket; that is a close as well.
fn closed_or_io(error: io::Error) -> ChannelError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ChannelError::Closed,
        _ => ChannelError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpListener};

    use super::*;

    fn pair() -> (Channel, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        (Channel::new(ours).unwrap(), theirs)
    }

    #[tokio::test]
    async fn more_descriptors_than_one_message_takes_arrive_in_order() {
        let (mut sender, theirs) = pair();
        let mut receiver = Channel::new(theirs).unwrap();
        let sockets: Vec<_> =
            (0..MAX_DESCRIPTORS + 5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let sending = tokio::spawn({
            let copies: Vec<_> = sockets.iter().map(|socket| socket.try_clone().unwrap()).collect();
            async move {
                let descriptors: Vec<_> = copies.iter().map(AsFd::as_fd).collect();
                sender.split().0.send_descriptors(&descriptors).await.unwrap();
                sender.send(&Message::Ready).await.unwrap();
            }
        });
        let mut arrived = Vec::new();
        while let Message::Descriptors { count } = receiver.receive().await.unwrap() {
            arrived.extend(receiver.split().1.take_descriptors(count).unwrap());
        }
        sending.await.unwrap();
        let addresses: Vec<_> =
            arrived.into_iter().map(|fd| TcpListener::from(fd).local_addr().unwrap()).collect();
        let expected: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(addresses, expected);
    }

    /// A successor is started as soon as sending waits, and must find the manifest.
    #[tokio::test]
    async fn what_fits_into_a_new_socket_is_sent_without_waiting() {
        let (mut channel, theirs) = pair();
        let descriptors = [theirs.as_fd()];
        let sending = std::pin::pin!(async {
            channel.send(&Message::Ready).await?;
            channel.split().0.send_descriptors(&descriptors).await
        });
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(sending.poll(&mut context).is_ready());
    }

    #[tokio::test]
    async fn a_message_split_per_byte_is_understood() {
        let (mut channel, mut theirs) = pair();
        let writing = std::thread::spawn(move || {
            let body = br#"{"type":"settled"}"#;
            let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
            frame.extend_from_slice(body);
            for byte in frame {
                theirs.write_all(&[byte]).unwrap();
            }
            theirs
        });
        assert_eq!(channel.receive().await.unwrap(), Message::Settled);
        drop(writing.join().unwrap());
        assert!(matches!(channel.receive().await, Err(ChannelError::Closed)));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_was_written_before_the_limit_counts() {
        let (mut channel, mut theirs) = pair();
        assert_eq!(channel.split().1.receive_within(Duration::ZERO).await.unwrap(), None);
        // The runtime does not hear of it: nothing is awaited before the limit.
        theirs.write_all(b"\0\0\0\x12{\"type\":\"settled\"}").unwrap();
        assert_eq!(channel.split().1.receive_within(Duration::ZERO).await.unwrap(), Some(Message::Settled));
        drop(theirs);
        assert!(matches!(channel.split().1.receive_within(Duration::ZERO).await, Err(ChannelError::Closed)));
    }

    #[tokio::test]
    async fn garbage_is_refused_before_it_is_read_whole() {
        let (mut channel, mut theirs) = pair();
        theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(matches!(channel.receive().await, Err(ChannelError::Garbled(_))));
    }

    #[tokio::test]
    async fn descriptors_that_nobody_asked_for_are_refused() {
        let (mut sender, theirs) = pair();
        let mut receiver = Channel::without_descriptors(theirs).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        sender.split().0.send_descriptors(&[socket.as_fd()]).await.unwrap();
        assert!(matches!(receiver.receive().await, Err(ChannelError::Garbled(_))));
    }

    #[tokio::test]
    async fn descriptors_that_were_announced_but_did_not_come_are_an_error() {
        let (mut sender, theirs) = pair();
        let mut receiver = Channel::new(theirs).unwrap();
        sender.send(&Message::Descriptors { count: 1 }).await.unwrap();
        assert_eq!(receiver.receive().await.unwrap(), Message::Descriptors { count: 1 });
        assert!(matches!(receiver.split().1.take_descriptors(1), Err(ChannelError::DescriptorsLost)));
    }
}
