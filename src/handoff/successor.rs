//! The successor's side: take what is handed down, say when it could serve, wait for the word, pass the probation.

use std::{os::unix::net::UnixStream, time::Duration};

use super::{
    channel::{Channel, ChannelError},
    error::{HandoffError, Step},
    message::{Claim, Commit, Hello, Message, Serving, Versions},
    payload::Inheritance,
};
use crate::{
    lifecycle::look_behind,
    sys::{self, Inherited, within},
};

/// The conversation with the predecessor, after it has handed over its sockets.
#[derive(Debug)]
pub(crate) struct Succession {
    channel: Channel,
    generation: u64,
    /// It was read in a look behind the commit, and counts next.
    ahead: Option<Message>,
}

/// What the predecessor decided, or what became of it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It has stopped accepting: serve.
    Commit(Commit),
    /// It has cancelled the restart: do not serve.
    Abort(String),
    /// It lets go, and was asked for another restart meanwhile.
    Restart,
    /// It died, or leaves: nobody else accepts any more.
    Gone,
}

impl Succession {
    /// Takes over from the process that started this one. `None` if nobody did, or if it died before it had handed
    /// anything over: this is the first of its line.
    ///
    /// # Errors
    ///
    /// Any error means that this process must end; the predecessor serves on.
    pub(crate) async fn begin(limit: Duration) -> Result<Option<(Self, Inheritance)>, HandoffError> {
        let Some(Inherited { socket, nonce }) = sys::inherit() else { return Ok(None) };
        match Self::over(UnixStream::from(socket), nonce, limit).await {
            Err(HandoffError::PredecessorGone) => {
                log!(
                    warn,
                    "the predecessor died before it had handed over its sockets; this process begins a line of its own"
                );
                Ok(None)
            }
            taken => taken.map(Some),
        }
    }

    /// Takes over from the process at the other end.
    pub(crate) async fn over(
        stream: UnixStream,
        nonce: String,
        limit: Duration,
    ) -> Result<(Self, Inheritance), HandoffError> {
        let mut channel = Channel::new(stream).map_err(HandoffError::Io)?;
        let hello = Message::Hello(Hello {
            versions: Versions::OURS,
            pid: std::process::id(),
            nonce,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        let receiving = async {
            fault_point!(Started);
            match channel.send(&hello).await {
                // It is gone; what it had sent before is there nevertheless.
                Ok(()) | Err(ChannelError::Closed) => {}
                Err(error) => return Err(HandoffError::channel(Step::Hello, error)),
            }
            fault_point!(Greeted);
            Inheritance::receive(channel.split().1).await
        };
        let step = Step::Manifest;
        let inheritance = within(limit, receiving).await.ok_or(HandoffError::TimedOut { step, limit })??;
        fault_point!(Inherited);
        Ok((Self { channel, generation: inheritance.generation, ahead: None }, inheritance))
    }

    /// The number of the predecessor's generation.
    pub(crate) const fn predecessor(&self) -> u64 {
        self.generation
    }

    /// Sends `claim`: what this process makes of the manifest.
    pub(crate) fn claim(&mut self, claim: Claim) -> Result<(), HandoffError> {
        self.queue(Step::Ready, &Message::Claim(claim))
    }

    /// Sends `ready`: this process could serve.
    pub(crate) fn ready(&mut self) -> Result<(), HandoffError> {
        self.queue(Step::Ready, &Message::Ready)
    }

    /// Sends `serving`: this process accepts, and knows within `probation` whether it stays.
    pub(crate) fn serving(&mut self, probation: Duration) -> Result<(), HandoffError> {
        let probation_seconds = probation.as_secs_f64();
        self.queue(Step::Commit, &Message::Serving(Serving { probation_seconds }))
    }

    /// Sends `settled`: this process goes on, the predecessor is not needed any more. The predecessor
    /// decides, see [`verdict`](Self::verdict): when it is gone, it agrees.
    pub(crate) fn settled(&mut self) -> Result<(), HandoffError> {
        self.queue(Step::Probation, &Message::Settled)
    }

    /// Sends `sick`: this process has stopped accepting, for this reason.
    pub(crate) fn sick(&mut self, reason: String) -> Result<(), HandoffError> {
        self.queue(Step::Probation, &Message::Sick { reason })
    }

    /// A predecessor that is gone is no error here: `verdict` says what it means.
    fn queue(&mut self, step: Step, message: &Message) -> Result<(), HandoffError> {
        self.channel.queue(message).map_err(|error| HandoffError::channel(step, error))
    }

    /// Whether a part of what was sent has not left this process.
    pub(crate) const fn has_queued(&self) -> bool {
        self.channel.has_queued()
    }

    /// Waits until all that was sent has left this process, or cannot any more. Cancel safe.
    pub(crate) async fn flush(&mut self) {
        // What cannot be sent is not missed: the other side is gone.
        _ = self.channel.flush().await;
    }

    /// Waits for the predecessor's decision. Cancel safe.
    pub(crate) async fn verdict(&mut self) -> Result<Verdict, HandoffError> {
        let received = match self.ahead.take() {
            Some(message) => Ok(message),
            None => self.channel.exchange().await,
        };
        self.understand(received)
    }

    /// The predecessor's decision, if it lies in the socket.
    pub(crate) fn try_verdict(&mut self) -> Option<Result<Verdict, HandoffError>> {
        let received = self.ahead.take().map(Ok).or_else(|| self.channel.try_receive().transpose())?;
        Some(self.understand(received))
    }

    fn understand(&mut self, received: Result<Message, ChannelError>) -> Result<Verdict, HandoffError> {
        let mut received = received;
        if let Ok(commit @ Message::Commit(_)) = received {
            received = match self.channel.try_receive() {
                Ok(behind) => {
                    let counts;
                    (counts, self.ahead) =
                        look_behind(commit, behind, |message| matches!(message, Message::Abort { .. }));
                    Ok(counts)
                }
                // The end of the channel is found again.
                Err(ChannelError::Closed) => Ok(commit),
                Err(error) => Err(error),
            };
        }
        match received {
            Ok(Message::Commit(commit)) => Ok(Verdict::Commit(commit)),
            Ok(Message::Abort { reason }) => Ok(Verdict::Abort(reason)),
            Ok(Message::Restart) => Ok(Verdict::Restart),
            Ok(other) => Err(unexpected(&other)),
            Err(ChannelError::Closed) => Ok(Verdict::Gone),
            Err(error) => Err(HandoffError::channel(Step::Commit, error)),
        }
    }
}

fn unexpected(message: &Message) -> HandoffError {
    let reason = format!("it sent `{}`, which is not for a successor to receive now", message.name());
    HandoffError::Protocol { step: Step::Commit, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Succession) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let channel = Channel::new(theirs).unwrap();
        let succession = Succession { channel, generation: 1, ahead: None };
        (Channel::without_descriptors(ours).unwrap(), succession)
    }

    fn commit() -> Message {
        Message::Commit(Commit { took_seconds: 0.5 })
    }

    /// The predecessor was told to finish after it had sent `commit`.
    #[tokio::test]
    async fn a_commit_with_a_restart_behind_it_is_obeyed() {
        for waits in [true, false] {
            let (mut predecessor, mut successor) = pair();
            predecessor.queue(&commit()).unwrap();
            predecessor.queue(&Message::Restart).unwrap();
            drop(predecessor);
            let mut heard = Vec::new();
            for _ in 0..3 {
                heard.push(if waits {
                    successor.verdict().await.unwrap()
                } else {
                    successor.try_verdict().unwrap().unwrap()
                });
            }
            assert!(matches!(heard[..], [Verdict::Commit(_), Verdict::Restart, Verdict::Gone]), "{heard:?}");
        }
    }

    #[tokio::test]
    async fn an_abort_behind_a_commit_counts_instead_of_it() {
        let (mut predecessor, mut successor) = pair();
        predecessor.queue(&commit()).unwrap();
        predecessor.queue(&Message::Abort { reason: "late".to_owned() }).unwrap();
        let verdict = successor.verdict().await.unwrap();
        assert!(matches!(verdict, Verdict::Abort(_)), "{verdict:?}");
        assert!(successor.try_verdict().is_none());
    }
}
