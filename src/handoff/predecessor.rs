//! The predecessor's side: start a successor, hand over, commit; kill and reap it if anything is wrong.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

use tokio::{process::Child, time::timeout};

use super::{
    StartCommand,
    channel::{Channel, ChannelError},
    crossing,
    error::{RestartError, Step},
    message::{Claim, Commit, Hello, Manifest, Message, OLDEST_PROTOCOL, PROTOCOL},
};

/// A successor that was started and does not serve yet.
///
/// It is our unreaped child, held by tokio with a pidfd: a signal cannot reach another process. Dropping this does
/// nothing to it: if this process ends without a word, the successor goes on alone.
#[derive(Debug)]
pub(crate) struct Successor {
    child: Child,
    channel: Channel,
    /// The time that each step may take.
    limit: Duration,
    protocol: u32,
    pid: u32,
    nonce: String,
}

/// A process that has closed its socket gets this long to end by itself, so that its exit status can be told.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// From the commit until the successor accepts, nobody does: that must not last.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);

impl Successor {
    /// Starts `command`. Every step of the handoff may take `limit`, but for the last one, which has 5 s at most.
    pub(crate) async fn start(command: &StartCommand, limit: Duration) -> Result<Self, RestartError> {
        let failed = |source| RestartError::Spawn { command: command.to_string(), source };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let channel = Channel::without_descriptors(ours).map_err(failed)?;
        let nonce = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        let mut spawning = tokio::task::spawn_blocking({
            let (command, nonce, theirs) = (command.clone(), nonce.clone(), OwnedFd::from(theirs));
            move || crossing::spawn(&command, &theirs, &nonce)
        });
        let step = Step::Hello;
        let Ok(spawned) = timeout(limit, &mut spawning).await else {
            // It hangs in exec(2), in a file system perhaps. Should it come to life after all, it is not wanted any more.
            tokio::spawn(async move {
                if let Ok(Ok(mut child)) = spawning.await {
                    _ = child.kill().await;
                }
            });
            return Err(RestartError::TimedOut { step, limit });
        };
        let child = spawned.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?;
        let Some(pid) = child.id() else { return Err(RestartError::Crashed { step, status: None }) };
        Ok(Self { child, channel, limit, protocol: PROTOCOL, pid, nonce })
    }

    /// The successor's process id.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its hello, hands over the listening sockets, and waits until it can serve.
    pub(crate) async fn hand_over(
        &mut self,
        mut manifest: Manifest,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Claim, RestartError> {
        self.greet().await?;
        manifest.protocol = self.protocol;
        self.send_sockets(manifest, descriptors).await?;
        let step = Step::Ready;
        let Message::Claim(claim) = self.receive(step).await? else {
            return Err(rejected(step, "it did not say which listeners it takes"));
        };
        match self.receive(step).await? {
            Message::Ready => Ok(claim),
            other => Err(rejected(step, format!("it said `{}` instead of `ready`", other.name()))),
        }
    }

    async fn greet(&mut self) -> Result<(), RestartError> {
        let step = Step::Hello;
        let Message::Hello(hello) = self.receive(step).await? else {
            return Err(rejected(step, "its first message was not hello"));
        };
        let Hello { pid, nonce: theirs, version, .. } = &hello;
        if *pid != self.pid || *theirs != self.nonce {
            return Err(rejected(
                step,
                format!("process {pid} answered instead of {}; a wrapper must `exec` the server", self.pid),
            ));
        }
        self.protocol = hello.agreed_protocol().ok_or_else(|| {
            let (newest, oldest) = (hello.protocol, hello.oldest_protocol);
            rejected(
                step,
                format!(
                    "it speaks protocol {oldest} to {newest}, this process {OLDEST_PROTOCOL} to {PROTOCOL}"
                ),
            )
        })?;
        tracing::debug!(pid, version, protocol = self.protocol, "successor said hello");
        Ok(())
    }

    async fn send_sockets(
        &mut self,
        manifest: Manifest,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), RestartError> {
        let step = Step::Manifest;
        let sending = async {
            self.channel.send(&Message::Manifest(manifest)).await?;
            self.channel.send_descriptors(descriptors).await
        };
        match timeout(self.limit, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.explain(step, error).await),
            Err(_) => Err(RestartError::TimedOut { step, limit: self.limit }),
        }
    }

    /// Tells the successor to serve and waits until it does.
    pub(crate) async fn commit(&mut self, took: Duration) -> Result<(), RestartError> {
        let step = Step::Commit;
        self.limit = self.limit.min(COMMIT_LIMIT);
        let commit = Message::Commit(Commit { took_seconds: took.as_secs_f64() });
        if let Err(error) = self.channel.send(&commit).await {
            return Err(self.explain(step, error).await);
        }
        match self.receive(step).await? {
            Message::Settled => Ok(()),
            other => Err(rejected(step, format!("it said `{}` instead of `settled`", other.name()))),
        }
    }

    /// Calls the restart off: the successor is killed and reaped. Returns the reason it was given.
    pub(crate) async fn abandon(mut self, reason: RestartError) -> RestartError {
        // It is told, so that it does not mistake the closed socket for our death and promote itself before the signal
        // reaches it. A process that does not read must not hold us up, and needs no word: it is about to die.
        let abort = Message::Abort { reason: reason.to_string() };
        let _ = timeout(Duration::from_millis(100), self.channel.send(&abort)).await;
        if !matches!(timeout(self.limit, self.child.kill()).await, Ok(Ok(()))) {
            tracing::error!(pid = self.pid, "the successor does not die");
        }
        reason
    }

    /// Leaves the successor to itself: it serves. It is reaped should it end before we do.
    pub(crate) fn let_go(self) {
        let Self { mut child, .. } = self;
        tokio::spawn(async move { child.wait().await });
    }

    /// The next message, or why there is none.
    async fn receive(&mut self, step: Step) -> Result<Message, RestartError> {
        match timeout(self.limit, self.channel.receive()).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(error)) => Err(self.explain(step, error).await),
            Err(_) => Err(RestartError::TimedOut { step, limit: self.limit }),
        }
    }

    /// What a failed channel means.
    async fn explain(&mut self, step: Step, error: ChannelError) -> RestartError {
        match error {
            ChannelError::Closed => {
                // The end of the socket comes a moment before the end of the process; one that lives on without it is
                // killed by `abandon`.
                let status = timeout(LAST_MOMENT, self.child.wait()).await;
                RestartError::Crashed { step, status: status.ok().and_then(Result::ok) }
            }
            error => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                rejected(step, format!("{error}{}", source.unwrap_or_default()))
            }
        }
    }
}

fn rejected(step: Step, reason: impl Into<String>) -> RestartError {
    RestartError::Rejected { step, reason: reason.into() }
}
