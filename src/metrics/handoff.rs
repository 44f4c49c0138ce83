//! Metrics during a handoff.

use std::sync::Arc;

use super::{EarlierGeneration, GenerationMetrics, MetricsPage};
use crate::sys::ProcessHandle;

/// Exists from the manifest until the successor has settled, or until this generation continues
/// alone.
///
/// Meanwhile two generations read the pages of the older ones. Neither takes over the counts of one
/// that exits: they would be in the page of this generation as well, and the other one would count
/// them twice. Dropping it without [`settled`](Self::settled) is a rollback.
#[derive(Debug)]
#[must_use = "dropping it is a rollback"]
pub(crate) struct HandoffMetrics {
    metrics: Arc<GenerationMetrics>,
    /// This generation first, then the older ones.
    generations: Vec<EarlierGeneration>,
    /// The page of the successor.
    page: Option<MetricsPage>,
    successor: Successor,
}

/// The state of the successor.
#[derive(Debug)]
enum Successor {
    /// It has not served, or its process cannot be identified.
    Unknown,
    /// It may have served; this generation takes over its counts if it is rolled back.
    Serves(EarlierGeneration),
    /// It exports all counts from now on.
    Settled,
}

impl HandoffMetrics {
    pub(super) const fn new(
        metrics: Arc<GenerationMetrics>,
        generations: Vec<EarlierGeneration>,
        page: Option<MetricsPage>,
    ) -> Self {
        Self { metrics, generations, page, successor: Successor::Unknown }
    }

    /// The generations in the manifest: this one, then the older ones.
    pub(crate) fn generations(&self) -> &[EarlierGeneration] {
        &self.generations
    }

    /// The page of the successor, so that its counts are not lost if it is rolled back.
    pub(crate) const fn page(&self) -> Option<&MetricsPage> {
        self.page.as_ref()
    }

    /// The successor is about to serve.
    pub(crate) fn successor_serves(&mut self, generation: u64, pid: u32, process: ProcessHandle) {
        let page = self.page.clone();
        self.successor = Successor::Serves(EarlierGeneration { generation, pid, page, process });
    }

    /// The successor has settled, or continues in any case.
    pub(crate) fn settled(mut self) {
        self.successor = Successor::Settled;
    }
}

impl Drop for HandoffMetrics {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.successor, Successor::Settled) {
            Successor::Unknown => self.metrics.rolled_back(None),
            Successor::Serves(successor) => self.metrics.rolled_back(Some(&successor)),
            Successor::Settled => {}
        }
    }
}
