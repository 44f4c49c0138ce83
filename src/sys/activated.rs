//! Descriptors that the service manager passes across `exec`, taken by their numbers.

use std::{
    os::fd::{FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::io::{FdFlags, fcntl_setfd};

use super::numbers::has_crossed_exec;

/// The first of them (`SD_LISTEN_FDS_START`, `sd_listen_fds(3)`).
const FIRST: RawFd = 3;

/// Takes `count` descriptors from number 3 on, at most once in a process, and sets close-on-exec.
/// The entry is `None` if the descriptor is missing, or is owned by other code in this process.
///
/// Only for the process that the manager has named in `LISTEN_PID`.
pub(crate) fn take_activated(count: u16) -> Vec<Option<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    (FIRST..FIRST + RawFd::from(count)).map(take).collect()
}

fn take(descriptor: RawFd) -> Option<OwnedFd> {
    if !has_crossed_exec(descriptor) {
        return None;
    }
    // SAFETY: the manager has opened it for this very process, no code here has claimed it (the
    // check above), and it is taken once (`TAKEN`).
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    fcntl_setfd(&owned, FdFlags::CLOEXEC).ok()?;
    Some(owned)
}
