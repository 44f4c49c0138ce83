//! The process of a successor, as its predecessor holds it: by a pidfd, never by a bare pid.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::ExitStatus,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::{process::Child, task::JoinHandle, time::timeout};

use crate::sys::{self, StartCommand};

/// See the module. Dropping it does nothing to the process: if this one ends without a word, the successor goes on alone.
#[derive(Debug)]
pub(super) enum Process {
    /// `exec` is under way.
    Starting(JoinHandle<io::Result<Child>>),
    /// Our child. It is unreaped, so a signal cannot reach another process; tokio holds its pidfd.
    Child(Child, u32),
    /// Somebody else's child.
    Peer(Peer),
    /// It could not be started.
    None,
}

/// A process that connected to this one.
#[derive(Debug)]
pub(crate) struct Peer {
    /// As this process sees it; 0 in a PID namespace that it cannot see into.
    pub(crate) pid: u32,
    /// `None` if it cannot be held: then it cannot be killed either.
    pub(crate) handle: Option<OwnedFd>,
}

/// A process that was killed is gone within this time, or hangs in the kernel.
const DEATH_LIMIT: Duration = Duration::from_secs(5);

impl Process {
    /// Begins to start `command`, with `socket` as its handoff socket.
    pub(super) fn start(command: &StartCommand, socket: OwnedFd, nonce: &str) -> Self {
        let (command, nonce) = (command.clone(), nonce.to_owned());
        Self::Starting(tokio::task::spawn_blocking(move || sys::spawn(&command, &socket, &nonce)))
    }

    /// Waits until it runs its program. Cancel safe.
    pub(super) async fn started(&mut self) -> io::Result<()> {
        if let Self::Starting(starting) = self {
            let started = starting.await.map_err(io::Error::other).flatten();
            *self = Self::None;
            let child = started?;
            let pid = child.id().ok_or_else(|| io::Error::other("it was reaped already"))?;
            *self = Self::Child(child, pid);
        }
        Ok(())
    }

    /// Its process id; 0 if it is unknown.
    pub(super) const fn pid(&self) -> u32 {
        match self {
            Self::Child(_, pid) => *pid,
            Self::Peer(peer) => peer.pid,
            Self::Starting(_) | Self::None => 0,
        }
    }

    /// A pidfd of it.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        match self {
            // Not another's: it is unreaped.
            Self::Child(child, _) => {
                let pid = child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
                Ok(pidfd_open(pid.ok_or(Errno::SRCH)?, PidfdFlags::empty())?)
            }
            Self::Peer(Peer { handle: Some(handle), .. }) => handle.try_clone(),
            Self::Starting(_) | Self::Peer(Peer { handle: None, .. }) | Self::None => Err(Errno::SRCH.into()),
        }
    }

    /// Waits for its end; for ever if nobody tells us of it. Cancel safe.
    pub(super) async fn over(&mut self) {
        match self {
            // An error would mean that somebody else has reaped it.
            Self::Child(child, _) => _ = child.wait().await,
            Self::Peer(Peer { handle: Some(handle), .. }) => match handle.try_clone().and_then(sys::watch) {
                Ok(handle) => _ = handle.readable().await,
                Err(_) => std::future::pending().await,
            },
            Self::Peer(Peer { handle: None, .. }) | Self::Starting(_) | Self::None => {
                std::future::pending::<()>().await;
            }
        }
    }

    /// How it ended, if it does within `limit` and we are told. A child is reaped.
    pub(super) async fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        match self {
            Self::Child(child, _) => timeout(limit, child.wait()).await.ok()?.ok(),
            // Its parent is told how. It has the same time to say why, to whoever started it.
            Self::Peer(Peer { handle: Some(handle), .. }) => {
                over(handle.try_clone().ok()?, limit).await;
                None
            }
            _ => None,
        }
    }

    /// Kills it and waits until it is gone; a child is reaped. `false` if it may still live.
    pub(super) async fn kill(self) -> bool {
        match self {
            Self::Child(mut child, _) => {
                // One that has been reaped cannot be killed.
                matches!(child.try_wait(), Ok(Some(_)))
                    || matches!(timeout(DEATH_LIMIT, child.kill()).await, Ok(Ok(())))
            }
            Self::Peer(Peer { handle: Some(handle), .. }) => kill(handle).await,
            Self::Starting(starting) => {
                // It hangs in exec(2), in a file system perhaps. Should it come to life after all, it is not wanted any more.
                tokio::spawn(async move {
                    if let Ok(Ok(mut child)) = starting.await {
                        _ = child.kill().await;
                    }
                });
                true
            }
            Self::Peer(Peer { handle: None, .. }) => false,
            Self::None => true,
        }
    }

    /// Leaves it to itself. A child is reaped should it end before we do.
    pub(super) fn let_go(self) {
        if let Self::Child(mut child, _) = self {
            tokio::spawn(async move { child.wait().await });
        }
    }
}

/// Whether the process of this pidfd is over.
pub(crate) fn is_over(handle: BorrowedFd<'_>) -> bool {
    wait(handle, Duration::ZERO)
}

/// Waits until the process of this pidfd is over. `false` if it is not within `limit`.
pub(super) async fn over(handle: impl AsFd + Send + 'static, limit: Duration) -> bool {
    tokio::task::spawn_blocking(move || wait(handle.as_fd(), limit)).await.unwrap_or(false)
}

async fn kill(handle: OwnedFd) -> bool {
    // One that is gone is over.
    matches!(pidfd_send_signal(&handle, Signal::KILL), Ok(()) | Err(Errno::SRCH))
        && over(handle, DEATH_LIMIT).await
}

/// Waits until the process of this pidfd is over: then it is readable (pidfd_open(2)). Blocks.
fn wait(handle: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(handle, PollFlags::IN)];
    let limit = Timespec::try_from(limit).ok();
    matches!(poll(&mut polled, limit.as_ref()), Ok(1..))
}
