//! An older generation, as this process sees it.

use super::MetricsPage;
use crate::sys::ProcessHandle;

/// A generation that drains, or is about to: an older one, or a successor that was rolled back.
#[derive(Clone, Debug)]
pub(crate) struct EarlierGeneration {
    pub(crate) generation: u64,
    pub(crate) pid: u32,
    /// Its page, if it has one.
    pub(crate) page: Option<MetricsPage>,
    pub(crate) process: ProcessHandle,
}
