//! The successor's side: take what is handed down, say when it could serve, wait for the word, pass the probation.

use std::{os::unix::net::UnixStream, time::Duration};

use tokio::time::timeout;

use super::{
    channel::{Channel, ChannelError},
    error::{HandoffError, Step},
    estate::Inheritance,
    message::{Claim, Commit, Hello, Message, Serving, Versions},
};
use crate::sys::{self, Inherited};

/// The conversation with the predecessor, after it has handed over its sockets.
#[derive(Debug)]
pub(crate) struct Succession {
    channel: Channel,
    generation: u64,
}

/// What the predecessor decided, or what became of it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It has stopped accepting: serve.
    Commit(Commit),
    /// It called the restart off: do not serve.
    Abort(String),
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
                tracing::warn!(
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
        let mut channel = Channel::new(stream)?;
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
        let inheritance =
            timeout(limit, receiving).await.map_err(|_| HandoffError::TimedOut { step, limit })??;
        fault_point!(Inherited);
        Ok((Self { channel, generation: inheritance.generation }, inheritance))
    }

    /// The number of the predecessor's generation.
    pub(crate) const fn predecessor(&self) -> u64 {
        self.generation
    }

    /// Says that this process could serve.
    pub(crate) async fn ready(&mut self, claim: Claim) -> Result<(), HandoffError> {
        fault_point!(Initialised);
        self.tell(Step::Ready, Message::Claim(claim)).await?;
        fault_point!(Claimed);
        self.tell(Step::Ready, Message::Ready).await
    }

    /// Says that this process accepts, and how long its probation may take.
    pub(crate) async fn serving(&mut self, probation: Duration) -> Result<(), HandoffError> {
        let probation_seconds = probation.as_secs_f64();
        self.tell(Step::Commit, Message::Serving(Serving { probation_seconds })).await
    }

    /// Says that this process goes on: the predecessor is not needed any more. It has the last word on it, see
    /// [`verdict`](Self::verdict): gone, it agrees.
    pub(crate) async fn settled(&mut self) {
        if let Err(error) = self.tell(Step::Probation, Message::Settled).await {
            tracing::warn!(%error, "the predecessor could not be told that this generation has settled");
        }
    }

    /// Says that this process has stopped accepting, for this reason. What becomes of it, `verdict` says.
    pub(crate) async fn sick(&mut self, reason: String) {
        if let Err(error) = self.tell(Step::Probation, Message::Sick { reason }).await {
            tracing::warn!(%error, "the predecessor could not be told that this generation is sick");
        }
    }

    /// Waits for the predecessor's decision. Cancel safe.
    pub(crate) async fn verdict(&mut self) -> Result<Verdict, HandoffError> {
        Self::understand(self.channel.receive().await)
    }

    /// As [`verdict`](Self::verdict), for `limit` at most.
    pub(crate) async fn verdict_within(&mut self, limit: Duration) -> Result<Verdict, HandoffError> {
        let received = self.channel.receive_within(limit).await.transpose();
        received.map_or(Err(HandoffError::TimedOut { step: Step::Commit, limit }), Self::understand)
    }

    fn understand(received: Result<Message, ChannelError>) -> Result<Verdict, HandoffError> {
        match received {
            Ok(Message::Commit(commit)) => Ok(Verdict::Commit(commit)),
            Ok(Message::Abort { reason }) => Ok(Verdict::Abort(reason)),
            Ok(other) => {
                let reason = format!("it said `{}`, which is not for a successor to hear now", other.name());
                Err(HandoffError::Protocol { step: Step::Commit, reason })
            }
            Err(ChannelError::Closed) => Ok(Verdict::Gone),
            Err(error) => Err(HandoffError::channel(Step::Commit, error)),
        }
    }

    /// A predecessor that is gone is no error here: `verdict` says what it means.
    async fn tell(&mut self, step: Step, message: Message) -> Result<(), HandoffError> {
        match self.channel.send(&message).await {
            Ok(()) | Err(ChannelError::Closed) => Ok(()),
            Err(error) => Err(HandoffError::channel(step, error)),
        }
    }
}
