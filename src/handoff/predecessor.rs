//! The predecessor's side: start a successor, hand over, commit, watch its probation; kill and reap it if anything
//! is wrong.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    channel::{Channel, ChannelError, Receiver},
    error::{RestartError, Step},
    message::{Claim, Commit, Hello, Message, Versions},
    payload::HandoffPayload,
    process::{Peer, Process},
};
use crate::sys::{ProcessHandle, StartCommand, within};

/// A successor that does not serve yet, or is in its probation.
#[derive(Debug)]
pub(crate) struct Successor {
    process: Process,
    channel: Channel,
    /// The time that each step may take, up to the commit.
    limit: Duration,
    origin: Origin,
}

/// How it came to us.
#[derive(Debug)]
enum Origin {
    /// We start it.
    Started { command: StartCommand, socket: Option<OwnedFd>, nonce: String },
    /// It connected, and has said hello.
    Arrived(Hello),
}

/// A process that connected to this one and wants to be its successor.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) channel: Channel,
    pub(crate) hello: Hello,
    pub(crate) peer: Peer,
}

/// What a successor says that has been told to serve.
#[derive(Debug)]
pub(crate) enum Committed {
    /// It accepts, and will have proved itself within this time.
    OnProbation(Duration),
    /// It was told to end meanwhile, and nobody shall go on for it.
    Settled,
    /// It is unhealthy before it has sent `serving`, and does not accept.
    Sick(String),
}

/// How a probation ended well, or was not needed.
#[derive(Debug)]
pub(crate) enum Probation {
    /// The successor has settled.
    Passed,
    /// It found itself unfit, and has stopped accepting.
    Sick(String),
}

/// A process that has closed its socket gets this long to end by itself, so that its exit status can be told.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// A successor that is told to stop gets this long to read it.
const TO_BE_TOLD: Duration = Duration::from_millis(100);

/// One that cannot be killed gets this long to say, by closing its end, that it has read it.
const TO_OBEY: Duration = Duration::from_secs(2);

/// From the commit until the successor accepts, nobody does: that must not last.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);

/// A successor may be late by this much with the end of its probation: the machine may be busy.
const LATENESS: Duration = Duration::from_secs(5);

/// The longest probation that we agree to.
pub(crate) const LONGEST_PROBATION: Duration = Duration::from_secs(24 * 60 * 60);

impl Successor {
    /// Prepares to start `command`. Every step up to the commit may take `limit`.
    pub(crate) fn start(command: &StartCommand, limit: Duration) -> Result<Self, RestartError> {
        let failed =
            |source: io::Error| RestartError::Spawn { command: command.to_string(), source: source.into() };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let channel = Channel::without_descriptors(ours).map_err(failed)?;
        let nonce = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        let origin = Origin::Started { command: command.clone(), socket: Some(theirs.into()), nonce };
        Ok(Self { process: Process::None, channel, limit, origin })
    }

    /// One that somebody else started.
    pub(crate) fn arrived(Arrival { channel, hello, peer }: Arrival, limit: Duration) -> Self {
        Self { process: Process::connected(peer), channel, limit, origin: Origin::Arrived(hello) }
    }

    /// The successor's process id; 0 if it is in a PID namespace of its own.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How this process holds it, once it has said hello; `None` if it cannot.
    pub(crate) const fn handle(&self) -> Option<&ProcessHandle> {
        self.process.handle()
    }

    /// Hands the payload over, and waits until the successor could serve.
    ///
    /// A process that we start finds it in its socket: from its first moment on, the sockets outlive us.
    pub(crate) async fn hand_over<L: AsFd>(
        &mut self,
        payload: &HandoffPayload<L>,
    ) -> Result<Claim, RestartError> {
        if let Err(failure) = self.present(payload).await {
            return Err(self.explain(failure).await);
        }
        fault_point!(Hello);
        let (step, limit) = (Step::Ready, self.limit);
        let claim = match self.receive(step, limit).await? {
            Message::Claim(claim) => claim,
            other => return Err(unexpected(step, &other, "claim")),
        };
        fault_point!(Claim);
        match self.receive(step, limit).await? {
            Message::Ready => Ok(claim),
            other => Err(unexpected(step, &other, "ready")),
        }
    }

    async fn present<L: AsFd>(&mut self, payload: &HandoffPayload<L>) -> Result<(), Failure> {
        let Self { process, channel, limit, origin } = self;
        let (sender, receiver) = channel.split();
        let sending = in_step(Step::Manifest, *limit, async {
            fault_point!(Presenting);
            payload.send(sender).await?;
            fault_point!(Presented);
            Ok(())
        });
        let (command, socket, nonce) = match origin {
            Origin::Started { command, socket, nonce } => (command, socket, nonce),
            Origin::Arrived(hello) => {
                check_versions(hello)?;
                return sending.await;
            }
        };
        let greeting = async {
            if let Some(socket) = socket.take() {
                fault_point!(Spawning);
                *process = Process::start(command, socket, nonce);
            }
            let started = within(*limit, process.started()).await;
            let timed_out = RestartError::TimedOut { step: Step::Hello, limit: *limit };
            let failed = |source: io::Error| RestartError::Spawn {
                command: command.to_string(),
                source: source.into(),
            };
            started.ok_or(timed_out)?.map_err(failed)?;
            fault_point!(Spawned);
            greet(receiver, *limit, process, nonce).await
        };
        // In this order: what fits into the socket is there before the process is.
        tokio::try_join!(biased; sending, greeting).map(|((), ())| ())
    }

    /// Sends `commit`: the successor shall serve. Does not wait.
    pub(crate) fn commit(&mut self, took: Duration) {
        let commit = Message::Commit(Commit { took_seconds: took.as_secs_f64() });
        // An error is found by reading.
        _ = self.channel.queue(&commit);
    }

    /// Waits until the successor serves, after [`commit`](Self::commit).
    pub(crate) async fn serving(&mut self) -> Result<Committed, RestartError> {
        let step = Step::Commit;
        let limit = self.limit.min(COMMIT_LIMIT);
        if let Err(failure) = in_step(step, limit, self.channel.flush()).await {
            return Err(self.explain(failure).await);
        }
        fault_point!(Committed);
        match self.receive(step, limit).await? {
            Message::Settled => Ok(Committed::Settled),
            Message::Sick { reason } => Ok(Committed::Sick(reason)),
            Message::Serving(serving) => Duration::try_from_secs_f64(serving.probation_seconds)
                .ok()
                .filter(|probation| *probation <= LONGEST_PROBATION)
                .map(Committed::OnProbation)
                .ok_or_else(|| {
                    let seconds = serving.probation_seconds;
                    rejected(step, format!("it wants to be on probation for {seconds} seconds"))
                }),
            other => Err(unexpected(step, &other, "serving")),
        }
    }

    /// Waits for the end of the successor's probation. Cancel safe.
    pub(crate) async fn probation(&mut self, lasts: Duration) -> Result<Probation, RestartError> {
        let step = Step::Probation;
        match self.receive(step, lasts + LATENESS).await? {
            Message::Settled => Ok(Probation::Passed),
            Message::Sick { reason } => Ok(Probation::Sick(reason)),
            other => Err(unexpected(step, &other, "settled")),
        }
    }

    /// Calls the restart off: the successor must not serve. It is killed and, if it is our child, reaped.
    pub(crate) async fn abandon(self, reason: String) {
        let Self { process, mut channel, .. } = self;
        let pid = process.pid();
        // It is told, so that it does not mistake the closed socket for our death and promote itself before the signal
        // reaches it. A process that does not read must not hold us up.
        let abort = Message::Abort { reason };
        let mut telling = tokio::spawn(async move {
            _ = channel.send(&abort).await;
            // Until it has closed its end: then it has read the word, or is dead.
            while channel.receive().await.is_ok() {}
        });
        let told = timeout(TO_BE_TOLD, &mut telling).await.is_ok();
        fault_point!(CallingOff);
        if process.kill().await {
            telling.abort();
        } else if !told && timeout(TO_OBEY, telling).await.is_err() {
            // The word is all there is, and the socket stays open until it has been read.
            log!(error, pid, "the successor cannot be killed, and has not yet read that it must not serve");
        }
    }

    /// Confirms to a successor that has stopped accepting that this process accepts again. It exits
    /// by itself.
    pub(crate) fn dismiss(self, reason: String) {
        self.send_last(&Message::Abort { reason });
    }

    /// Leaves the successor to itself, with a restart that was requested meanwhile.
    pub(crate) fn pass_on_restart(self) {
        self.send_last(&Message::Restart);
    }

    /// Sends a message and closes the channel. Does not wait: this process may exit next. The
    /// successor has read the manifest, so there is room for a message.
    fn send_last(mut self, message: &Message) {
        // One that cannot be reached is gone.
        _ = self.channel.queue(message);
        self.let_go();
    }

    /// Leaves the successor to itself: it serves. If it is a child, it is reaped should it exit before we do.
    pub(crate) fn let_go(self) {
        drop(self);
    }

    /// The next message, or why there is none.
    async fn receive(&mut self, step: Step, limit: Duration) -> Result<Message, RestartError> {
        match next(step, limit, self.channel.split().1, &self.process).await {
            Ok(message) => Ok(message),
            Err(failure) => Err(self.explain(failure).await),
        }
    }

    /// What a failure means for the restart.
    async fn explain(&mut self, failure: Failure) -> RestartError {
        match failure {
            Failure::Over(error) => error,
            Failure::Channel(step, ChannelError::Closed) => {
                // The end of the socket comes a moment before the end of the process; one that lives on without it is
                // killed by `abandon`.
                RestartError::Crashed { step, status: self.process.exited_within(LAST_MOMENT).await }
            }
            Failure::Channel(step, error) => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                rejected(step, format!("{error}{}", source.unwrap_or_default()))
            }
        }
    }
}

impl Arrival {
    /// Turns it away: it must not serve.
    pub(crate) async fn turn_away(mut self, reason: String) {
        _ = timeout(LAST_MOMENT, self.channel.send(&Message::Abort { reason })).await;
    }
}

/// Why a step failed.
enum Failure {
    Channel(Step, ChannelError),
    Over(RestartError),
}

impl From<RestartError> for Failure {
    fn from(error: RestartError) -> Self {
        Self::Over(error)
    }
}

async fn in_step<T>(
    step: Step,
    limit: Duration,
    work: impl Future<Output = Result<T, ChannelError>>,
) -> Result<T, Failure> {
    match within(limit, work).await {
        Some(done) => done.map_err(|error| Failure::Channel(step, error)),
        None => Err(Failure::Over(RestartError::TimedOut { step, limit })),
    }
}

/// The next message. The end of the process counts as that of its socket: a child of it may hold a copy.
async fn next(
    step: Step,
    limit: Duration,
    mut receiver: Receiver<'_>,
    process: &Process,
) -> Result<Message, Failure> {
    let failed = |error| Failure::Channel(step, error);
    tokio::select! {
        biased;
        received = receiver.receive_within(limit) => {
            return received.map_err(failed)?.ok_or(Failure::Over(RestartError::TimedOut { step, limit }));
        }
        () = process.exited() => {}
    }
    // What it had said before is there.
    receiver.receive_within(Duration::ZERO).await.map_err(failed)?.ok_or(failed(ChannelError::Closed))
}

async fn greet(
    receiver: Receiver<'_>,
    limit: Duration,
    process: &Process,
    nonce: &str,
) -> Result<(), Failure> {
    let step = Step::Hello;
    let pid = process.pid();
    let hello = match next(step, limit, receiver, process).await? {
        Message::Hello(hello) => hello,
        other => return Err(unexpected(step, &other, "hello").into()),
    };
    if hello.pid != pid || hello.nonce != nonce {
        let reason =
            format!("process {} answered instead of {pid}; a wrapper must `exec` the server", hello.pid);
        return Err(rejected(step, reason).into());
    }
    check_versions(&hello)
}

fn check_versions(hello: &Hello) -> Result<(), Failure> {
    let (theirs, ours) = (hello.versions, Versions::OURS);
    let Some(protocol) = theirs.agreed() else {
        return Err(rejected(Step::Hello, format!("it speaks {theirs}, this process {ours}")).into());
    };
    log!(debug, pid = hello.pid, version = hello.version, protocol, "successor said hello");
    Ok(())
}

fn unexpected(step: Step, said: &Message, wanted: &str) -> RestartError {
    rejected(step, format!("it said `{}` instead of `{wanted}`", said.name()))
}

fn rejected(step: Step, reason: impl Into<String>) -> RestartError {
    RestartError::Rejected { step, reason: reason.into() }
}
