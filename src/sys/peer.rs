//! The credentials of the peer of a Unix socket, as reported by the kernel.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// A process and its user. A process of root can pass other credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// 0 if it is in a PID namespace that this process cannot see into.
    pub(crate) pid: i32,
    pub(crate) uid: u32,
}

impl From<libc::ucred> for Credentials {
    fn from(credentials: libc::ucred) -> Self {
        Self { pid: credentials.pid, uid: credentials.uid }
    }
}

/// The peer (`SO_PEERCRED`, unix(7)): for an accepted connection the process that called
/// connect(2), for a connected socket the process that called listen(2).
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    // SAFETY: the kernel writes a `ucred`, whose fields are integers.
    let credentials: libc::ucred = unsafe { option(socket, libc::SO_PEERCRED) }?;
    Ok(credentials.into())
}

/// A pidfd of that process (`SO_PEERPIDFD`, Linux 6.5), closed on `exec`.
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the kernel writes a descriptor, which is an integer.
    let pidfd: RawFd = unsafe { option(socket, libc::SO_PEERPIDFD) }?;
    // SAFETY: the kernel has made it for this call, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// An option of the level `SOL_SOCKET`.
///
/// # Safety
///
/// The kernel must write a valid `T`. All zeros must be one, too.
unsafe fn option<T>(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` has room for the `length` bytes that are asked for, and outlives the call.
    let result = unsafe {
        let (level, value) = (libc::SOL_SOCKET, value.as_mut_ptr().cast());
        libc::getsockopt(socket.as_raw_fd(), level, name, value, &raw mut length)
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was zeroed, then the kernel has written to it. The caller guarantees that both are
    // valid.
    Ok(unsafe { value.assume_init() })
}
