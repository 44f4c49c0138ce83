//! Metrics while the sockets are handed over.

use std::sync::Arc;

use super::{EarlierGeneration, GenerationMetrics, MetricsPage};
use crate::sys::ProcessHandle;

/// From the manifest until the successor has settled, or until this generation goes on by itself.
///
/// Meanwhile two generations read the pages of the earlier ones. Neither takes over what one of
/// these leaves: it would be in the page of this generation as well, and the other would count it
/// twice. Dropped without [`settled`](Self::settled), the handoff was rolled back.
#[derive(Debug)]
#[must_use = "dropping it is a rollback"]
pub(crate) struct HandoffMetrics {
    metrics: Arc<GenerationMetrics>,
    /// This generation first, then the earlier ones.
    generations: Vec<EarlierGeneration>,
    /// The successor's.
    page: Option<MetricsPage>,
    successor: Successor,
}

/// What has become of the successor.
#[derive(Debug)]
enum Successor {
    /// It has not served, or cannot be told apart from other processes.
    Unknown,
    /// It may have served, and what it counted is this generation's if it does not stay.
    Serves(EarlierGeneration),
    /// It answers for all from now on.
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

    /// What the manifest names: this generation, then the earlier ones.
    pub(crate) fn generations(&self) -> &[EarlierGeneration] {
        &self.generations
    }

    /// The page in which the successor shall count, so that nothing is lost if it is rolled back.
    pub(crate) const fn page(&self) -> Option<&MetricsPage> {
        self.page.as_ref()
    }

    /// The successor is about to serve.
    pub(crate) fn successor_serves(&mut self, generation: u64, pid: u32, process: ProcessHandle) {
        let page = self.page.clone();
        self.successor = Successor::Serves(EarlierGeneration { generation, pid, page, process });
    }

    /// The successor has settled, or goes on in any case.
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
