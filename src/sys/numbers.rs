//! Descriptors that a new program finds under the numbers from 3 on (sd_listen_fds(3)).

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd},
};

use rustix::io::fcntl_dupfd_cloexec;

/// The first number after standard input, output and error (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// The numbers of the descriptors in this process, before they get those that the new program
/// expects.
pub(super) struct Numbers(Vec<RawFd>);

impl Numbers {
    pub(super) fn of(descriptors: &[BorrowedFd<'_>]) -> Self {
        Self(descriptors.iter().map(AsRawFd::as_raw_fd).collect())
    }

    /// Takes the numbers that the descriptors will have in the child, where they are free: std
    /// would use one of them for the pipe by which it learns that `exec` has failed.
    pub(super) fn occupy(descriptors: &[BorrowedFd<'_>]) -> io::Result<Vec<OwnedFd>> {
        let end = end(descriptors.len())?;
        let mut occupied = Vec::new();
        let Some(any) = descriptors.first() else { return Ok(occupied) };
        loop {
            let copy = fcntl_dupfd_cloexec(any, FIRST)?;
            if copy.as_raw_fd() >= end {
                return Ok(occupied);
            }
            occupied.push(copy);
        }
    }

    /// Gives the descriptors their numbers, open across `exec`. In the child, after the fork:
    /// whatever else has these numbers is closed. Allocates nothing.
    pub(super) fn give(&mut self) -> io::Result<()> {
        let end = end(self.0.len())?;
        // Out of the way first: one must not be closed by another's taking its number.
        for descriptor in &mut self.0 {
            if (FIRST..end).contains(descriptor) {
                // SAFETY: it is open: the owner held it during the fork, and this is the child's copy.
                let open = unsafe { BorrowedFd::borrow_raw(*descriptor) };
                *descriptor = fcntl_dupfd_cloexec(open, end)?.into_raw_fd();
            }
        }
        for (descriptor, number) in self.0.iter().zip(FIRST..) {
            // SAFETY: this is the child, in which no code runs after this but `exec`: whatever is
            // closed here is not missed.
            if unsafe { libc::dup2(*descriptor, number) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// The number after the last one.
fn end(count: usize) -> io::Result<RawFd> {
    let count = RawFd::try_from(count).ok().and_then(|count| count.checked_add(FIRST));
    count.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Whether this is the number of a descriptor that was open before `exec`.
///
/// What this process has opened itself is closed on `exec`, by std and by every library that minds
/// its children; what has crossed it is not.
pub(super) fn has_crossed_exec(number: RawFd) -> bool {
    // SAFETY: this asks for the flags of a number. If it is that of no descriptor, the answer is
    // EBADF.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags != -1 && flags & libc::FD_CLOEXEC == 0
}
