//! A process, identified by a pidfd (pidfd_open(2)): a signal never reaches another process that
//! has reused the pid. Only this module waits for processes and kills them.

use std::{
    future::pending,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{Child, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, retry_on_intr},
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, getpid, pidfd_open,
        pidfd_send_signal, set_child_subreaper, wait, waitid,
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::OnceCell,
    time::{sleep, timeout},
};

/// The polling interval for a process that the runtime cannot watch.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A process: a child of this one, or any other. Clones hold the same process.
///
/// Dropping it does not affect the process. A child stays a zombie until [`reap`](Self::reap) is
/// called after its exit.
#[derive(Clone, Debug)]
pub(crate) struct ProcessHandle(Arc<Held>);

#[derive(Debug)]
struct Held {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    /// Registered when something waits for the first time, with the runtime of that moment. One
    /// registration serves all who wait: epoll(7) takes a descriptor only once.
    watched: OnceCell<AsyncFd<Arc<OwnedFd>>>,
    /// The exit status, once it was collected. The lock is held during waitid(2), so that a second
    /// caller finds what the first has collected.
    status: Mutex<Option<ExitStatus>>,
}

impl ProcessHandle {
    /// Opens the process that has this pid now.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self::from_pidfd(pid, pidfd_open(number, PidfdFlags::empty())?))
    }

    /// Wraps a pidfd that was received. `pid` is not verified, and is used only in logs.
    pub(crate) fn from_pidfd(pid: u32, pidfd: OwnedFd) -> Self {
        let (watched, status) = (OnceCell::new(), Mutex::new(None));
        Self(Arc::new(Held { pid, pidfd: Arc::new(pidfd), watched, status }))
    }

    /// Wraps a child that was just started. If no pidfd can be opened, the child is killed and
    /// reaped, because nothing could wait for it.
    pub(super) fn from_child(mut child: Child) -> io::Result<Self> {
        // Its pid cannot have been reused, because no other code in this process reaps it.
        Self::open(child.id()).inspect_err(|_| {
            _ = child.kill();
            _ = child.wait();
        })
    }

    /// Its process id; 0 if it is in a PID namespace that this process cannot see into.
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether the other is a clone of this one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it has exited; a pidfd is readable then.
    pub(crate) fn has_exited(&self) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)];
        matches!(retry_on_intr(|| poll(&mut polled, Some(&Timespec::default()))), Ok(1..))
    }

    /// Waits until it has exited. Cancel safe; any number of tasks may wait.
    pub(crate) async fn exited(&self) {
        if self.has_exited() {
            return;
        }
        let registered = self.0.watched.get_or_try_init(|| async { watch(self.0.pidfd.clone()) }).await;
        let Ok(watched) = registered else {
            // The number of descriptors that epoll(7) watches is limited.
            while !self.has_exited() {
                sleep(LOOK_INTERVAL).await;
            }
            return;
        };
        loop {
            // An error means that the runtime shuts down, and this task with it.
            let Ok(mut ready) = watched.readable().await else { return pending().await };
            if self.has_exited() {
                return;
            }
            ready.clear_ready();
        }
    }

    /// Waits until it has exited. `false` if it has not within `limit`. Cancel safe.
    pub(crate) async fn exited_within(&self, limit: Duration) -> bool {
        timeout(limit, self.exited()).await.is_ok() || self.has_exited()
    }

    /// Reaps it if it is a child that has exited, and returns its exit status. Can be called
    /// repeatedly.
    ///
    /// `None` if it has not exited, and if its status is lost: it is no child of this process,
    /// something else has reaped it, or `SIGCHLD` is ignored.
    pub(crate) fn reap(&self) -> Option<ExitStatus> {
        let mut status = self.0.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let reaped = retry_on_intr(|| waitid(WaitId::PidFd(self.as_fd()), options));
            *status = reaped.ok().flatten().and_then(|status| exit_status(&status));
        }
        *status
    }

    /// Reaps it when it exits, in a task of its own: for a child that may outlive all who wait for
    /// it.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(crate) fn reap_when_exited(&self) {
        let process = self.clone();
        tokio::spawn(async move {
            process.exited().await;
            process.reap();
        });
    }

    /// Sends a signal. `ESRCH` if it has been reaped.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(self, signal)?)
    }

    /// Sends SIGKILL; `Ok` also if it has exited. The process may exit later.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(self, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }
}

/// Reaps any child that has exited, for the process that inherits orphans. A [`ProcessHandle`] of
/// that child then has no status.
pub(crate) fn reap_any() -> Option<(u32, ExitStatus)> {
    // ECHILD: there are no children.
    let (pid, status) = retry_on_intr(|| wait(WaitOptions::NOHANG)).ok().flatten()?;
    Some((pid.as_raw_nonzero().get().unsigned_abs(), ExitStatus::from_raw(status.as_raw())))
}

/// Makes this process inherit the orphans among its descendants (`PR_SET_CHILD_SUBREAPER`,
/// prctl(2)).
pub(crate) fn become_subreaper() -> io::Result<()> {
    // Any pid as the argument means `true`.
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Sends a signal to the calling thread, which goes no further before it has had its effect.
#[cfg(feature = "__faults")]
pub(crate) fn raise(signal: Signal) {
    // SAFETY: no memory is concerned. The signal is one that can be sent.
    unsafe { libc::raise(signal.as_raw()) };
}

/// As wait(2) encodes it.
fn exit_status(status: &WaitIdStatus) -> Option<ExitStatus> {
    /// The process has left a core dump.
    const CORE_DUMPED: i32 = 0x80;

    let raw = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (_, Some(signal)) if status.dumped() => signal | CORE_DUMPED,
        (_, Some(signal)) => signal,
        (None, None) => return None,
    };
    Some(ExitStatus::from_raw(raw))
}

/// Registers a pidfd with the runtime.
fn watch(pidfd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: an `Arc` leads to the same `OwnedFd` for as long as it lives, and this one is dropped
    // with the registration. Other holders can neither close the descriptor nor replace it.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}

#[cfg(test)]
mod tests {
    use std::process::{ChildStdin, Command, Stdio};

    use super::*;

    /// A child that exits when its standard input is closed.
    fn child() -> (ProcessHandle, ChildStdin) {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        (ProcessHandle::from_child(child).unwrap(), stdin)
    }

    #[tokio::test]
    async fn all_who_wait_learn_of_an_exit() {
        let (process, stdin) = child();
        let clone = process.clone();
        let waiting = tokio::spawn(async move { clone.exited().await });
        assert!(!process.exited_within(Duration::from_millis(10)).await);
        assert!(!process.has_exited());
        assert_eq!(process.reap(), None);
        drop(stdin);
        process.exited().await;
        waiting.await.unwrap();
        assert!(process.exited_within(Duration::ZERO).await);
        let status = process.reap();
        assert_eq!(status.unwrap().code(), Some(0));
        assert_eq!(process.clone().reap(), status, "asked again");
    }

    #[tokio::test]
    async fn a_killed_child_is_reaped_once_and_can_be_killed_again() {
        let (process, _stdin) = child();
        process.kill().unwrap();
        assert!(process.exited_within(Duration::from_secs(10)).await);
        assert_eq!(process.reap().unwrap().signal(), Some(9));
        process.kill().unwrap();
        let gone = process.signal(Signal::TERM).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(Errno::SRCH.raw_os_error()));
    }

    #[tokio::test]
    async fn a_child_is_reaped_without_anyone_who_waits() {
        let (process, stdin) = child();
        process.reap_when_exited();
        let other = ProcessHandle::open(process.pid()).unwrap();
        drop((process, stdin));
        let reaped = async {
            while other.signal(Signal::CONT).is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), reaped).await.unwrap();
        assert_eq!(other.reap(), None, "the status is lost to others");
    }

    #[tokio::test]
    async fn the_status_of_a_process_that_is_no_child_is_unknown() {
        // The shell is the parent of what it starts, and waits for it.
        let shell = Command::new("sh")
            .args(["-c", "exec 3<&0; cat <&3 & echo $!; exec >&-; wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut shell = shell.unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
        let grandchild = ProcessHandle::open(line.trim().parse().unwrap()).unwrap();
        assert!(!grandchild.has_exited());
        drop(shell.stdin.take());
        assert!(grandchild.exited_within(Duration::from_secs(10)).await);
        assert_eq!(grandchild.reap(), None);
        let shell = ProcessHandle::from_child(shell).unwrap();
        assert!(shell.exited_within(Duration::from_secs(10)).await);
        assert!(shell.reap().is_some_and(|status| status.success()));
    }
}
