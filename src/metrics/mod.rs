//! Metrics that continue across restarts.
//!
//! Each generation counts in a [`page`] of shared memory that other generations can read: its
//! successor, and later ones as long as it runs. The pages are handed over with the sockets, each
//! with the pidfd of its process. A generation exports its own counts plus those in the pages of
//! the generations that still drain. When one of these has exited, the generation adds the counts
//! of its page to its own page.
//!
//! These rules ensure that everything is counted once, and that no total decreases:
//!
//! - A page contains the counts of its generation and those that it has taken over, never counts of
//!   a page that other generations still read.
//! - While predecessor and successor both read the pages of the older generations, neither takes
//!   counts over: from the manifest until the predecessor has closed the channel, and in a
//!   generation that has handed over for the rest of its life. If an older generation exits
//!   meanwhile, both read its page, and its counts are in neither of theirs.
//! - The predecessor creates the page of its successor. If the successor is rolled back, the
//!   predecessor takes over its counts.
//! - The cells of a page are the counters themselves: a restart copies nothing, and a killed
//!   process loses nothing.
//!
//! This covers only the series of this library (see [`recorder`]). A failure costs totals, but
//! never a restart: without a page, a generation counts on its heap.

// Without the feature `admin` there are no counts, but the draining generations are known.
#![cfg_attr(not(feature = "admin"), allow(dead_code))]

mod bounds;
mod earlier;
mod handoff;
mod histogram;
mod labels;
mod page;
#[cfg(feature = "admin")]
mod recorder;
mod registry;
mod series;
mod totals;

#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use metrics::Gauge;
use portcullis_layers::ErrorChain;
use tokio::runtime::Handle;

#[cfg(feature = "admin")]
pub(crate) use bounds::{DEFAULT_BOUNDS, NamedBounds};
pub(crate) use earlier::EarlierGeneration;
pub(crate) use handoff::HandoffMetrics;
pub(crate) use page::MetricsPage;
#[cfg(feature = "admin")]
pub(crate) use recorder::Recorder;
pub(crate) use registry::Registry;

use crate::sys::ProcessHandle;
use page::PageError;
use totals::Totals;

/// The counts of this generation, and the other generations. See the module.
#[derive(Debug, Default)]
pub(crate) struct GenerationMetrics {
    /// Without one, there are no counts.
    registry: OnceLock<Arc<Registry>>,
    /// How many other generations live.
    draining: OnceLock<Gauge>,
    state: Mutex<State>,
    /// Held while the pages of others are read, so that counts are not taken over and exported
    /// twice. Reading takes a while, and is done only by blocking threads. Locked before `state`.
    reading: Mutex<()>,
    /// Whether the missing page was logged.
    reported: AtomicBool,
}

/// The other generations. Locked briefly, and while counts are taken over.
#[derive(Debug, Default)]
struct State {
    /// The predecessor first, then older generations and successors that were rolled back.
    others: Vec<Other>,
    /// The page of this generation.
    page: Option<MetricsPage>,
    /// The predecessor may still accept again.
    replaceable: bool,
    /// A successor has the pages of this generation and of the others.
    handed_over: bool,
}

#[derive(Clone, Debug)]
struct Other {
    generation: EarlierGeneration,
    has_ended: bool,
    /// Whether the unreadable page was logged.
    reported: bool,
}

impl GenerationMetrics {
    /// Creates those of a first generation.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Creates those of a successor: with the generations of its manifest, the predecessor first,
    /// and its own page. Until [`settled`](Self::settled) is called, the predecessor may accept
    /// again.
    pub(crate) fn inherit(self: &Arc<Self>, earlier: &[EarlierGeneration], page: Option<MetricsPage>) {
        let mut state = self.state();
        state.others = earlier.iter().cloned().map(Other::new).collect();
        state.page = page;
        state.replaceable = true;
        drop(state);
        // After that, so that a generation that has already exited is noticed immediately.
        earlier.iter().for_each(|generation| self.watch(generation));
    }

    /// The predecessor will not accept again.
    pub(crate) fn settled(self: &Arc<Self>) {
        self.state().replaceable = false;
        self.take_over_soon();
    }

    /// Uses this registry, and moves its counts to the page. Only the first registry is used.
    pub(crate) fn attach(self: &Arc<Self>, registry: &Arc<Registry>) {
        if self.registry.set(registry.clone()).is_err() {
            return;
        }
        let inherited = self.state().page.take();
        let page = inherited.map_or_else(MetricsPage::create, Ok);
        match page.and_then(|page| registry.share(page.clone()).map(|()| page)) {
            Ok(page) => self.state().page = Some(page),
            Err(error) => self.report(&error),
        }
        self.take_over_soon();
    }

    /// Sets the gauge for the number of other generations that run.
    pub(crate) fn show_draining(&self, gauge: Gauge) {
        _ = self.draining.set(gauge);
        self.look(&mut self.state());
    }

    /// How many other generations live; all of them drain.
    pub(crate) fn draining_count(&self) -> usize {
        let mut state = self.state();
        self.look(&mut state);
        state.living().count()
    }

    /// The other generations that live; all of them drain.
    pub(crate) fn earlier_generations(&self) -> Vec<EarlierGeneration> {
        let mut state = self.state();
        self.look(&mut state);
        state.living().cloned().collect()
    }

    /// Starts a handoff to a successor. `generation` is the number of this generation.
    ///
    /// Reads no series, so its duration does not depend on their number.
    pub(crate) fn begin_handoff(self: &Arc<Self>, generation: u64) -> HandoffMetrics {
        let counts = self.registry.get().is_some();
        // Only a generation that exports metrics needs the counts of the successor.
        let page =
            if counts { MetricsPage::create().map_err(|error| self.report(&error)).ok() } else { None };
        let pid = std::process::id();
        let process = ProcessHandle::open(pid);
        let mut state = self.state();
        self.look(&mut state);
        let own = match process {
            Ok(process) => {
                let page = state.page.clone();
                Some(EarlierGeneration { generation, pid, page, process })
            }
            Err(error) => {
                tracing::warn!(%error, "pidfd_open failed; the successor will not export the counts of this generation");
                None
            }
        };
        // Without counts, nothing is taken over: generations that have exited are not handed over.
        let others = state.others.iter().filter(|other| counts || !other.has_ended);
        let others = others.map(|other| other.generation.clone());
        let generations = own.into_iter().chain(others).collect();
        state.handed_over = true;
        drop(state);
        HandoffMetrics::new(self.clone(), generations, page)
    }

    /// This generation continues alone. It takes over the counts of its successor.
    fn rolled_back(self: &Arc<Self>, successor: Option<&EarlierGeneration>) {
        let mut state = self.state();
        state.handed_over = false;
        state.others.extend(successor.cloned().map(Other::new));
        drop(state);
        if let Some(successor) = successor {
            self.watch(successor);
        }
        self.take_over_soon();
    }

    /// Renders the counts of all generations and their open connections in the text format of
    /// Prometheus, version 0.0.4. Blocks.
    pub(crate) fn render(&self) -> String {
        self.take_over();
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        self.look(&mut state);
        let others = state.others.clone();
        drop(state);
        let mut shown = self.registry.get().map(|registry| registry.totals()).unwrap_or_default();
        for other in &others {
            let counted = self.read(other);
            shown.add(&counted);
            if !other.has_ended {
                shown.add_open(&counted, other.generation.generation);
            }
        }
        shown.to_string()
    }

    /// Takes over the counts of generations that have exited, if no other generation reads both
    /// pages. Blocks.
    fn take_over(&self) {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        self.look(&mut state);
        let ended: Vec<_> = state.others.iter().filter(|other| other.has_ended).cloned().collect();
        let shared = state.is_shared();
        drop(state);
        let Some(registry) = self.registry.get().filter(|_| !shared) else { return };
        for other in ended {
            let counted = self.read(&other);
            // With the lock held: a successor is given either the other page, or ours with what
            // was on it.
            let mut state = self.state();
            if state.is_shared() {
                return;
            }
            registry.add(&counted);
            state.others.retain(|known| !known.is(&other));
        }
    }

    /// Runs [`take_over`](Self::take_over) on a blocking thread. Without a runtime, the next scrape
    /// does it.
    fn take_over_soon(self: &Arc<Self>) {
        if self.state().others.is_empty() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let metrics = self.clone();
            runtime.spawn_blocking(move || metrics.take_over());
        }
    }

    /// Takes over the counts of a generation when it exits. Otherwise its exit is noticed when the
    /// generations are next examined.
    fn watch(self: &Arc<Self>, generation: &EarlierGeneration) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (metrics, generation) = (Arc::downgrade(self), generation.clone());
        runtime.spawn(async move {
            generation.process.exited().await;
            if let Some(metrics) = metrics.upgrade() {
                metrics.take_over_soon();
            }
        });
    }

    /// Finds the other generations that have exited.
    fn look(&self, state: &mut State) {
        for other in &mut state.others {
            other.has_ended = other.has_ended || other.generation.process.has_exited();
        }
        if let Some(gauge) = self.draining.get() {
            gauge.set(state.living().count() as f64);
        }
    }

    fn read(&self, other: &Other) -> Totals {
        let EarlierGeneration { generation, pid, page, .. } = &other.generation;
        let Some(page) = page else { return Totals::default() };
        page.read().unwrap_or_else(|error| {
            let mut state = self.state();
            let known = state.others.iter_mut().find(|known| known.is(other));
            if known.is_some_and(|known| !std::mem::replace(&mut known.reported, true)) {
                let error = ErrorChain(&error);
                tracing::warn!(generation, pid, %error, "cannot read the metrics of another generation");
            }
            Totals::default()
        })
    }

    fn report(&self, error: &PageError) {
        if !self.reported.swap(true, Ordering::Relaxed) {
            registry::report(error);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic leaves each field valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether another generation reads the page of this one and those of the others.
    const fn is_shared(&self) -> bool {
        self.replaceable || self.handed_over
    }

    fn living(&self) -> impl Iterator<Item = &EarlierGeneration> {
        self.others.iter().filter(|other| !other.has_ended).map(|other| &other.generation)
    }
}

impl Other {
    const fn new(generation: EarlierGeneration) -> Self {
        Self { generation, has_ended: false, reported: false }
    }

    fn is(&self, other: &Self) -> bool {
        self.generation.process.is_same(&other.generation.process)
    }
}
