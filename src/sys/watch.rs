//! A descriptor that is watched by the runtime.

use std::{io, os::fd::OwnedFd, sync::Arc};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers a descriptor, to wait until it is readable; a pidfd is when its process is over (pidfd_open(2)).
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is registered, which never gives it away: it is open, and the same, for as
    // long as the registration lasts.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

/// As [`watch`], for a descriptor that is also held elsewhere. It takes no descriptor of its own, and
/// can be registered once at a time.
pub(crate) fn watch_shared(descriptor: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: as above. The other holders can neither close it nor take it out of the `Arc` as long as
    // the registration holds its share.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}
