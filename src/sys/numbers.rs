//! Descriptors that a new program finds under the numbers from 3 on (sd_listen_fds(3)).

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

/// The first number after standard input, output and error (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// The numbers that descriptors have here, before they are given those that the new program expects.
pub(super) struct Numbers(Vec<RawFd>);

impl Numbers {
    pub(super) fn of(descriptors: &[BorrowedFd<'_>]) -> Self {
        Self(descriptors.iter().map(AsRawFd::as_raw_fd).collect())
    }

    /// Takes the numbers that the descriptors will have in the child, where they are free: std would use one of them for the
    /// pipe by which it learns that `exec` has failed.
    pub(super) fn occupy(descriptors: &[BorrowedFd<'_>]) -> io::Result<Vec<OwnedFd>> {
        let end = end(descriptors.len())?;
        let mut occupied = Vec::new();
        let Some(any) = descriptors.first() else { return Ok(occupied) };
        loop {
            let copy = rustix::io::fcntl_dupfd_cloexec(any, FIRST)?;
            if copy.as_raw_fd() >= end {
                return Ok(occupied);
            }
            occupied.push(copy);
        }
    }

    /// Gives the descriptors their numbers, open across `exec`. In the child, after the fork: whatever else has these
    /// numbers is closed. Allocates nothing.
    pub(super) fn give(&mut self) -> io::Result<()> {
        let end = end(self.0.len())?;
        // Out of the way first: one must not be closed by another's taking its number.
        for descriptor in &mut self.0 {
            if (FIRST..end).contains(descriptor) {
                // SAFETY: it makes a new descriptor, which nobody else owns.
                *descriptor = checked(unsafe { libc::fcntl(*descriptor, libc::F_DUPFD_CLOEXEC, end) })?;
            }
        }
        for (descriptor, number) in self.0.iter().zip(FIRST..) {
            // SAFETY: this is the child, in which no code runs after this but `exec`: whatever is closed here is not missed.
            checked(unsafe { libc::dup2(*descriptor, number) })?;
        }
        Ok(())
    }
}

/// The number after the last one.
fn end(count: usize) -> io::Result<RawFd> {
    let count = RawFd::try_from(count).ok().and_then(|count| count.checked_add(FIRST));
    count.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
