//! The credentials of the peer of a Unix socket, as reported by the kernel.

use std::{io, os::fd::AsFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::geteuid,
};

use crate::{
    handoff::Peer,
    sys::{ProcessHandle, peer_credentials, peer_pidfd},
};

/// Whether a process of this user is trusted by this one.
pub(super) fn trusted(user: u32) -> bool {
    is_trusted_by(geteuid().as_raw(), user)
}

/// Whether a process of `user` is trusted by one of `own`: its own user and root are.
pub(crate) const fn is_trusted_by(own: u32, user: u32) -> bool {
    user == 0 || user == own
}

/// The user of the process at the other end (`SO_PEERCRED`, unix(7)): of an accepted connection the one that
/// connected, of a connected one the one that called listen(2), which may have been an earlier generation.
pub(super) fn user_of(socket: &impl AsFd) -> io::Result<u32> {
    peer_credentials(socket.as_fd()).map(|credentials| credentials.uid)
}

/// The process that connected, held by a pidfd; `None` if it is gone.
pub(super) fn process_of(socket: &impl AsFd) -> Option<Peer> {
    // 0 if it is in a PID namespace that this process cannot see into.
    let pid = peer_credentials(socket.as_fd()).ok()?.pid.try_into().ok()?;
    let handle = match peer_pidfd(socket.as_fd()) {
        Ok(pidfd) => Some(ProcessHandle::from_pidfd(pid, pidfd)),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::SRCH | Errno::NODATA)) => {
            return None;
        }
        // Before Linux 6.5.
        Err(_) => by_pid(pid, socket),
    };
    Some(Peer { pid, handle })
}

/// The pid is another's by now, perhaps, if its process is gone. But then its end of the socket was closed before that.
fn by_pid(pid: u32, socket: &impl AsFd) -> Option<ProcessHandle> {
    let handle = ProcessHandle::open(pid).ok()?;
    // HUP is told whether one asks for it or not (poll(2)).
    let mut polled = [PollFd::new(socket, PollFlags::empty())];
    let hung_up = poll(&mut polled, Some(&Timespec::default())).ok()? > 0;
    (!hung_up).then_some(handle)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_process_is_held_as_long_as_its_end_is_open() {
        let own = std::process::id();
        let (ours, theirs) = UnixStream::pair().unwrap();
        assert!(process_of(&ours).is_some_and(|peer| peer.pid == own));
        assert!(by_pid(own, &ours).is_some());
        assert!(by_pid(0, &ours).is_none(), "in another PID namespace");
        drop(theirs);
        assert!(by_pid(own, &ours).is_none(), "it may be somebody else");
    }
}
