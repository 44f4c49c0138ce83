//! The successor's side: take what is handed down, say when it could serve, wait for the word.

use std::{os::unix::net::UnixStream, time::Duration};

use tokio::time::timeout;

use super::{
    channel::{Channel, ChannelError},
    crossing::{self, Inherited},
    error::{HandoffError, Step},
    message::{Claim, Commit, Hello, ListenerEntry, Message, OLDEST_PROTOCOL, PROTOCOL},
};
use crate::bind::ListeningSocket;

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
    /// It died. Nobody accepts any more: serve.
    Died,
}

impl Succession {
    /// Takes over from the process that started this one. `None` if nobody did: this is the first of its line.
    ///
    /// # Errors
    ///
    /// Any error means that this process must end; the predecessor serves on.
    pub(crate) async fn begin(
        limit: Duration,
    ) -> Result<Option<(Self, Vec<(ListenerEntry, ListeningSocket)>)>, HandoffError> {
        let Some(Inherited { socket, nonce }) = crossing::inherit() else { return Ok(None) };
        let mut channel = Channel::new(UnixStream::from(socket))?;
        let receiving = async {
            let hello = Hello {
                protocol: PROTOCOL,
                oldest_protocol: OLDEST_PROTOCOL,
                pid: std::process::id(),
                nonce,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let step = Step::Hello;
            channel.send(&Message::Hello(hello)).await.map_err(|error| HandoffError::channel(step, error))?;
            receive_sockets(&mut channel).await
        };
        let step = Step::Manifest;
        let (generation, sockets) =
            timeout(limit, receiving).await.map_err(|_| HandoffError::TimedOut { step, limit })??;
        Ok(Some((Self { channel, generation }, sockets)))
    }

    /// The number of the predecessor's generation.
    pub(crate) const fn predecessor(&self) -> u64 {
        self.generation
    }

    /// Says that this process could serve.
    pub(crate) async fn ready(&mut self, claim: Claim) -> Result<(), HandoffError> {
        for message in [Message::Claim(claim), Message::Ready] {
            match self.channel.send(&message).await {
                Ok(()) => {}
                // The predecessor is gone; `verdict` says what that means.
                Err(ChannelError::Closed) => return Ok(()),
                Err(error) => return Err(HandoffError::channel(Step::Ready, error)),
            }
        }
        Ok(())
    }

    /// Waits for the predecessor's decision. Cancel safe.
    pub(crate) async fn verdict(&mut self) -> Result<Verdict, HandoffError> {
        match self.channel.receive().await {
            Ok(Message::Commit(commit)) => Ok(Verdict::Commit(commit)),
            Ok(Message::Abort { reason }) => Ok(Verdict::Abort(reason)),
            Ok(other) => {
                let reason = format!("it said `{}` instead of `commit`", other.name());
                Err(HandoffError::Protocol { step: Step::Commit, reason })
            }
            Err(ChannelError::Closed) => Ok(Verdict::Died),
            Err(error) => Err(HandoffError::channel(Step::Commit, error)),
        }
    }

    /// Says that this process accepts.
    pub(crate) async fn settled(&mut self) {
        if let Err(error) = self.channel.send(&Message::Settled).await {
            // It died after the commit; then there is nobody left who could take the sockets back.
            tracing::debug!(%error, "the predecessor is gone");
        }
    }
}

async fn receive_sockets(
    channel: &mut Channel,
) -> Result<(u64, Vec<(ListenerEntry, ListeningSocket)>), HandoffError> {
    let step = Step::Manifest;
    let failed = |error| HandoffError::channel(step, error);
    let manifest = match channel.receive().await.map_err(failed)? {
        Message::Manifest(manifest) => manifest,
        Message::Abort { reason } => return Err(HandoffError::Aborted { reason }),
        other => {
            let reason = format!("it said `{}` instead of `manifest`", other.name());
            return Err(HandoffError::Protocol { step, reason });
        }
    };
    let mut descriptors = Vec::with_capacity(manifest.listeners.len());
    while descriptors.len() < manifest.listeners.len() {
        match channel.receive().await.map_err(failed)? {
            Message::Descriptors { count } => {
                descriptors.extend(channel.take_descriptors(count).map_err(failed)?);
            }
            Message::Abort { reason } => return Err(HandoffError::Aborted { reason }),
            other => {
                let reason = format!("it said `{}` instead of `descriptors`", other.name());
                return Err(HandoffError::Protocol { step, reason });
            }
        }
    }
    let mut sockets = Vec::with_capacity(descriptors.len());
    for (entry, descriptor) in manifest.listeners.into_iter().zip(descriptors) {
        let socket = ListeningSocket::inherited(&entry.name, descriptor, &entry.socket)?;
        sockets.push((entry, socket));
    }
    Ok((manifest.generation, sockets))
}
