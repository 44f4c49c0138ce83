//! The predecessor's side: start a successor, hand over, commit; kill and reap it if anything is wrong.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    os::fd::{BorrowedFd, OwnedFd},
    process::ExitStatus,
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

/// A successor that was started and does not serve yet. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Successor {
    /// Before the channel, so that it is dropped first: a successor that sees the socket close while it lives
    /// would take us for dead and promote itself.
    process: Process,
    channel: Channel,
    /// The time that each step may take.
    limit: Duration,
    protocol: u32,
    pid: u32,
}

impl Successor {
    /// Starts `command` and waits for its hello. Every step of the handoff may take `limit`.
    ///
    /// If the future is dropped, the process that it started is killed.
    pub(crate) async fn start(command: &StartCommand, limit: Duration) -> Result<Self, RestartError> {
        let failed = |source| RestartError::Spawn { command: command.to_string(), source };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let nonce = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        let spawning = tokio::task::spawn_blocking({
            let (command, nonce, theirs) = (command.clone(), nonce.clone(), OwnedFd::from(theirs));
            move || crossing::spawn(&command, &theirs, &nonce).map(|child| Process(Some(child)))
        });
        let step = Step::Hello;
        let process = timeout(limit, spawning)
            .await
            .map_err(|_| RestartError::TimedOut { step, limit })?
            .map_err(|error| failed(io::Error::other(error)))?
            .map_err(failed)?;
        let Some(pid) = process.id() else { return Err(RestartError::Crashed { step, status: None }) };
        let channel = Channel::new(ours).map_err(failed)?;
        let mut successor = Self { process, channel, limit, protocol: PROTOCOL, pid };
        match successor.greet(&nonce).await {
            Ok(()) => Ok(successor),
            Err(error) => Err(successor.abandon(error).await),
        }
    }

    /// The successor's process id.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    async fn greet(&mut self, nonce: &str) -> Result<(), RestartError> {
        let step = Step::Hello;
        let Message::Hello(hello) = self.receive(step).await? else {
            return Err(rejected(step, "its first message was not hello"));
        };
        let Hello { pid, nonce: theirs, version, .. } = &hello;
        if *pid != self.pid || theirs != nonce {
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

    /// Hands over the listening sockets and waits until the successor can serve.
    pub(crate) async fn hand_over(
        &mut self,
        mut manifest: Manifest,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Claim, RestartError> {
        manifest.protocol = self.protocol;
        let step = Step::Manifest;
        let sending = async {
            self.channel.send(&Message::Manifest(manifest)).await?;
            self.channel.send_descriptors(descriptors).await
        };
        let sent = timeout(self.limit, sending)
            .await
            .map_err(|_| RestartError::TimedOut { step, limit: self.limit })?;
        if let Err(error) = sent {
            return Err(self.explain(step, error).await);
        }
        let step = Step::Ready;
        let Message::Claim(claim) = self.receive(step).await? else {
            return Err(rejected(step, "it did not say which listeners it takes"));
        };
        match self.receive(step).await? {
            Message::Ready => Ok(claim),
            other => Err(rejected(step, format!("it said `{}` instead of `ready`", other.name()))),
        }
    }

    /// Tells the successor to serve and waits until it does.
    pub(crate) async fn commit(&mut self, took: Duration) -> Result<(), RestartError> {
        let step = Step::Commit;
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
        if !matches!(timeout(self.limit, self.process.kill()).await, Ok(Ok(()))) {
            tracing::error!(pid = self.pid, "the successor does not die");
        }
        reason
    }

    /// Leaves the successor to itself: it serves. It is reaped should it end before we do.
    pub(crate) fn let_go(mut self) {
        tokio::spawn(async move {
            // The successor learns from the end of this socket that its predecessor is gone.
            let _channel = self.channel;
            if let Some(mut child) = self.process.0.take() {
                let _ = child.wait().await;
            }
        });
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
                let status = timeout(Duration::from_secs(1), self.process.wait()).await;
                RestartError::Crashed { step, status: status.ok().flatten() }
            }
            error => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                rejected(step, format!("{error}{}", source.unwrap_or_default()))
            }
        }
    }
}

/// A process that is killed when this is dropped, unless it was taken out.
///
/// It is our unreaped child, held by tokio with a pidfd: the signal cannot reach another process. (tokio's own
/// `kill_on_drop` cannot be taken back, and would kill the successor when we exit.)
#[derive(Debug)]
struct Process(Option<Child>);

impl Process {
    fn id(&self) -> Option<u32> {
        self.0.as_ref().and_then(Child::id)
    }

    async fn kill(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Some(child) => child.kill().await,
            None => Ok(()),
        }
    }

    async fn wait(&mut self) -> Option<ExitStatus> {
        self.0.as_mut()?.wait().await.ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It fails only if the process is gone. tokio reaps it.
            let _ = child.start_kill();
        }
    }
}

fn rejected(step: Step, reason: impl Into<String>) -> RestartError {
    RestartError::Rejected { step, reason: reason.into() }
}
