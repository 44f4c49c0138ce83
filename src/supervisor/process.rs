//! A process that the supervisor knows, and how it has ended.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
};

use rustix::process::Signal;

use crate::sys::{self, ProcessHandle};

/// A process that serves, has served, or may serve.
#[derive(Debug)]
pub(super) struct Process {
    handle: ProcessHandle,
    exit: Option<Exit>,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
    /// Its parent has waited for it, and that is not this process.
    Unknown,
}

impl Process {
    /// The process that has this number now.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        ProcessHandle::open(pid).map(Self::from)
    }

    pub(super) fn pid(&self) -> u32 {
        self.handle.pid()
    }

    /// Sends it a signal, if it is alive.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = self.handle.signal(signal) {
            tracing::debug!(pid = self.pid(), ?signal, %error, "a signal did not arrive");
        }
    }

    /// How it has ended, as far as that was seen.
    pub(super) const fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// It was reaped as [any child](reap_any).
    pub(super) const fn set_exit(&mut self, exit: Exit) {
        self.exit = Some(exit);
    }

    /// Looks whether it has exited by now, and reaps it if it is a child.
    pub(super) fn look(&mut self) {
        if self.exit.is_none() && self.handle.has_exited() {
            self.exit = Some(self.handle.reap().map_or(Exit::Unknown, Exit::from));
        }
    }

    /// Waits until it has exited. Cancel safe.
    pub(super) async fn exited(&self) {
        self.handle.exited().await;
    }
}

impl From<ProcessHandle> for Process {
    fn from(handle: ProcessHandle) -> Self {
        Self { handle, exit: None }
    }
}

impl Exit {
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

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (_, Some(signal)) => Self::Signal(signal),
            _ => Self::Unknown,
        }
    }
}

/// Reaps one child that has exited, whichever it is.
pub(super) fn reap_any() -> Option<(u32, Exit)> {
    sys::reap_any().map(|(pid, status)| (pid, status.into()))
}
