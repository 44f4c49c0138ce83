//! A generation before this one, as this process knows it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::{sleep, timeout};

use super::MetricsPage;
use crate::sys;

/// A generation that drains, or is about to: an older one, or a successor that was rolled back.
#[derive(Clone, Debug)]
pub(crate) struct EarlierGeneration {
    pub(crate) generation: u64,
    pub(crate) pid: u32,
    /// Where it counts, if others can read it.
    pub(crate) page: Option<MetricsPage>,
    /// Its pidfd.
    pub(crate) process: Arc<OwnedFd>,
}

impl EarlierGeneration {
    /// Whether its process runs: a pidfd is readable when it has ended (pidfd_open(2)).
    pub(crate) fn is_alive(&self) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(self.process.as_fd(), PollFlags::IN)];
        !matches!(poll(&mut polled, Some(&Timespec::default())), Ok(1..))
    }

    /// Waits until its process has ended. For one task at a time.
    pub(super) async fn ended(&self) -> io::Result<()> {
        _ = sys::watch_shared(self.process.clone())?.readable().await?;
        Ok(())
    }

    /// Waits until its process has ended. `false` if it has not within `limit`.
    pub(crate) async fn ended_within(&self, limit: Duration) -> bool {
        // Another task waits with the descriptor itself.
        match self.process.try_clone().and_then(sys::watch) {
            Ok(process) => _ = timeout(limit, process.readable()).await,
            Err(_) => sleep(limit).await,
        }
        !self.is_alive()
    }
}
