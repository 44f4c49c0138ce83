//! The process of a successor, as its predecessor holds it: by a pidfd, never by a bare pid.

use std::{io, os::fd::OwnedFd, process::ExitStatus, time::Duration};

use tokio::task::JoinHandle;

use crate::sys::{self, ProcessHandle, StartCommand};

/// See the module. Dropping it does nothing to the process: if this one ends without a word, the
/// successor goes on alone. A child is reaped when it exits, whatever becomes of this.
#[derive(Debug)]
pub(super) enum Process {
    /// `exec` is under way.
    Starting(JoinHandle<io::Result<ProcessHandle>>),
    /// It runs: our child, or one that connected to this process.
    Running(ProcessHandle),
    /// One that connected to this process and cannot be held.
    Unreachable { pid: u32 },
    /// It could not be started.
    None,
}

/// A process that connected to this one.
#[derive(Debug)]
pub(crate) struct Peer {
    /// As this process sees it; 0 in a PID namespace that it cannot see into.
    pub(crate) pid: u32,
    /// `None` if it cannot be held: then it cannot be killed either.
    pub(crate) handle: Option<ProcessHandle>,
}

/// A process that was killed exits within this time, or hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(5);

impl Process {
    /// Begins to start `command`, with `socket` as its handoff socket.
    pub(super) fn start(command: &StartCommand, socket: OwnedFd, nonce: &str) -> Self {
        let (command, nonce) = (command.clone(), nonce.to_owned());
        Self::Starting(tokio::task::spawn_blocking(move || {
            // Here, so that it is reaped also if nothing waits for this result any more.
            sys::spawn(&command, &socket, &nonce).inspect(ProcessHandle::reap_when_exited)
        }))
    }

    /// One that connected to this process.
    pub(super) fn connected(Peer { pid, handle }: Peer) -> Self {
        handle.map_or(Self::Unreachable { pid }, Self::Running)
    }

    /// Waits until it runs its program. Cancel safe.
    pub(super) async fn started(&mut self) -> io::Result<()> {
        if let Self::Starting(starting) = self {
            let started = starting.await;
            *self = Self::None;
            *self = Self::Running(started.map_err(io::Error::other)??);
        }
        Ok(())
    }

    /// Its process id; 0 if it is unknown.
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Running(handle) => handle.pid(),
            Self::Unreachable { pid } => *pid,
            Self::Starting(_) | Self::None => 0,
        }
    }

    /// How this process holds it; `None` if it does not run, or cannot be held.
    pub(super) const fn handle(&self) -> Option<&ProcessHandle> {
        match self {
            Self::Running(handle) => Some(handle),
            Self::Starting(_) | Self::Unreachable { .. } | Self::None => None,
        }
    }

    /// Waits until it has exited; for ever if this process cannot learn of it. Cancel safe.
    pub(super) async fn exited(&self) {
        match self.handle() {
            Some(handle) => handle.exited().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until it has exited, for `limit` at most. Returns how, if it is a child: only its
    /// parent learns that.
    pub(super) async fn exited_within(&self, limit: Duration) -> Option<ExitStatus> {
        let handle = self.handle()?;
        // One that is no child has the same time to say why, to the process that started it.
        handle.exited_within(limit).await.then(|| handle.reap()).flatten()
    }

    /// Kills it and waits until it has exited; a child is reaped. `false` if it may be alive.
    pub(super) async fn kill(self) -> bool {
        match self {
            Self::Running(handle) => kill(&handle).await,
            Self::Starting(starting) => {
                // It hangs in exec(2), in a file system perhaps. Should it run after all, it is not
                // wanted any more.
                tokio::spawn(async move {
                    if let Ok(Ok(handle)) = starting.await {
                        kill(&handle).await;
                    }
                });
                true
            }
            Self::Unreachable { .. } => false,
            Self::None => true,
        }
    }
}

async fn kill(handle: &ProcessHandle) -> bool {
    let killed = handle.kill().is_ok() && handle.exited_within(KILL_LIMIT).await;
    if killed {
        // Before the caller goes on, whatever the task does that reaps it otherwise.
        handle.reap();
    }
    killed
}
