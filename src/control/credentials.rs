//! Who is at the other end of a Unix socket, as the kernel vouches for it.

use std::os::fd::{AsFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt},
    unistd::{Uid, geteuid},
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::handoff::Peer;

/// Whether a process of this user is trusted by this one: its own user and root are.
pub(super) fn trusted(user: Uid) -> bool {
    user.is_root() || user == geteuid()
}

/// The user of the process at the other end (`SO_PEERCRED`, unix(7)): of an accepted connection the one that
/// connected, of a connected one the one that called listen(2), which may have been an earlier generation.
pub(super) fn user_of(socket: &impl AsFd) -> nix::Result<Uid> {
    getsockopt(socket, sockopt::PeerCredentials).map(|credentials| Uid::from_raw(credentials.uid()))
}

/// The process at the other end of an accepted connection, held by a pidfd; `None` if it is gone.
pub(super) fn process_of(socket: &impl AsFd) -> Option<Peer> {
    // 0 if it is in a PID namespace that this process cannot see into.
    let pid = getsockopt(socket, sockopt::PeerCredentials).ok()?.pid();
    let handle = match getsockopt(socket, sockopt::PeerPidfd) {
        Ok(handle) => Some(handle),
        Err(Errno::ESRCH | Errno::ENODATA) => return None,
        // Before Linux 6.5. The pid may be another's by now, if its process is gone; that is all there is.
        Err(_) => by_pid(pid),
    };
    Some(Peer { pid: pid.try_into().ok()?, handle })
}

fn by_pid(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}
