//! A process, held by a descriptor: its number cannot become another's unnoticed.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    task::{Context, Poll},
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, pidfd_open, pidfd_send_signal, wait, waitid,
};
use tokio::io::unix::AsyncFd;

use crate::{handoff::is_over, sys::watch};

/// A process that serves, has served, or may serve.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    handle: AsyncFd<OwnedFd>,
    exit: Option<Exit>,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
    /// Its parent has waited for it, and that is not us.
    Unknown,
}

impl Process {
    /// Takes hold of the process that has this number now.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let handle = watch(pidfd_open(number, PidfdFlags::empty())?)?;
        Ok(Self { pid, handle, exit: None })
    }

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal, if it lives.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(self.handle.get_ref(), signal) {
            tracing::debug!(pid = self.pid, ?signal, %error, "a signal did not arrive");
        }
    }

    /// How it has ended, as far as that was seen.
    pub(super) const fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Its end was seen by whoever reaped it.
    pub(super) const fn set_exit(&mut self, exit: Exit) {
        self.exit = Some(exit);
    }

    /// Looks whether it is over by now, and reaps it if it is our child.
    pub(super) fn look(&mut self) {
        if self.exit.is_some() || !is_over(self.handle.get_ref().as_fd()) {
            return;
        }
        let id = WaitId::PidFd(self.handle.get_ref().as_fd());
        self.exit = match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => Some(Exit::new(status.exit_status(), status.terminating_signal())),
            _ => Some(Exit::Unknown),
        };
    }

    /// Ready once it is over; for one task at a time.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error: the runtime is about to end.
        self.handle.poll_read_ready(cx).map(drop)
    }
}

impl Exit {
    fn new(code: Option<i32>, signal: Option<i32>) -> Self {
        match (code, signal) {
            (Some(code), _) => Self::Code(code),
            (_, Some(signal)) => Self::Signal(signal),
            _ => Self::Unknown,
        }
    }

    /// The exit code of a supervisor whose server has ended like this.
    pub(super) fn code(self) -> ExitCode {
        let code = match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::Unknown => 0,
        };
        // Neither is larger: an exit code has eight bits, and there are 64 signals.
        u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
    }
}

/// Reaps one child that is over, whoever it is.
pub(super) fn reap() -> Option<(u32, Exit)> {
    // An error: there are no children.
    let (pid, status) = wait(WaitOptions::NOHANG).ok().flatten()?;
    Some((
        pid.as_raw_nonzero().get().unsigned_abs(),
        Exit::new(status.exit_status(), status.terminating_signal()),
    ))
}
