//! Metrics that go on over restarts.
//!
//! Each generation counts in a [`page`] of shared memory that others can read: its successor, and
//! the successors of that one as long as it lives. The pages travel with the sockets, each with the
//! pidfd of the process that counts in it. A generation shows what it counts itself and what the
//! pages of those hold that still drain. When one of these has ended, the generation adds what it
//! has left to its own page.
//!
//! How everything is counted once, and no total ever falls:
//!
//! - A page holds what its generation has counted and taken over, never what stands on a page that
//!   others still read.
//! - While predecessor and successor both read the pages of the others (from the manifest until the
//!   predecessor has let go; a generation that has handed over: for ever), neither takes anything
//!   over. What ends meanwhile is counted by both from its page, and stands on neither of theirs.
//! - A successor counts in a page that it was given. If it is rolled back, its predecessor goes on
//!   with what it has counted.
//! - The cells of a page are the counters themselves: nothing is written for a restart, and a
//!   killed process loses nothing.
//!
//! Only the series of this library are counted so (see [`recorder`]). What fails here costs totals,
//! and never a restart: without a page, a generation counts on its heap.

// Without the feature `admin`, there is nothing that counts; what drains is still known.
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

/// What this generation counts, and what it knows of the others. See the module.
#[derive(Debug, Default)]
pub(crate) struct GenerationMetrics {
    /// Nothing is counted without one.
    registry: OnceLock<Arc<Registry>>,
    /// How many other generations live.
    draining: OnceLock<Gauge>,
    state: Mutex<State>,
    /// Held while the pages of others are read, so that what is taken over meanwhile is not shown
    /// twice. Reading takes a while, and is done by blocking threads alone. Taken before `state`.
    reading: Mutex<()>,
    /// That there is no page was logged.
    reported: AtomicBool,
}

/// This generation among the others. Locked for moments, and while a generation is taken over.
#[derive(Debug, Default)]
struct State {
    /// From the predecessor on, and successors that were rolled back.
    others: Vec<Other>,
    /// This generation's own.
    page: Option<MetricsPage>,
    /// The predecessor may go on in the place of this generation.
    replaceable: bool,
    /// A successor was given the pages of this generation and of the others.
    handed_over: bool,
}

#[derive(Clone, Debug)]
struct Other {
    generation: EarlierGeneration,
    has_ended: bool,
    /// That its page cannot be read was logged.
    reported: bool,
}

impl GenerationMetrics {
    /// Those of a first generation.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Begins as a successor: with the generations of its manifest, the predecessor first, and
    /// the page in which it shall count. Until [`settled`](Self::settled) is called, the
    /// predecessor may go on in its place.
    pub(crate) fn inherit(self: &Arc<Self>, earlier: &[EarlierGeneration], page: Option<MetricsPage>) {
        let mut state = self.state();
        state.others = earlier.iter().cloned().map(Other::new).collect();
        state.page = page;
        state.replaceable = true;
        drop(state);
        // After that: one that has ended already is noticed at once.
        earlier.iter().for_each(|generation| self.watch(generation));
    }

    /// The predecessor will not come back.
    pub(crate) fn settled(self: &Arc<Self>) {
        self.state().replaceable = false;
        self.take_over_soon();
    }

    /// Counts with this registry, and where other generations can read it. The first one stays.
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

    /// The gauge that shall show how many other generations live.
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

    /// Begins to hand over to a successor. `generation` is this one's number.
    ///
    /// Does not look at a single series: however many there are, it takes a moment.
    pub(crate) fn begin_handoff(self: &Arc<Self>, generation: u64) -> HandoffMetrics {
        let counts = self.registry.get().is_some();
        // What the successor counts is of use to a generation that shows it.
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
                tracing::warn!(%error, "pidfd_open failed; the successor will not show what this generation has counted");
                None
            }
        };
        // Where nothing is counted, nothing is taken over: what has ended goes no further.
        let others = state.others.iter().filter(|other| counts || !other.has_ended);
        let others = others.map(|other| other.generation.clone());
        let generations = own.into_iter().chain(others).collect();
        state.handed_over = true;
        drop(state);
        HandoffMetrics::new(self.clone(), generations, page)
    }

    /// This generation goes on by itself. What its successor has counted is not lost.
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

    /// What all generations have counted and the connections that they serve, in Prometheus' text
    /// format 0.0.4. Blocks.
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

    /// Adds what the ended generations have counted to this one's, if no other generation reads
    /// both. Blocks.
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

    /// Has [`take_over`](Self::take_over) done by a blocking thread. Where there is no runtime, the
    /// next scrape does it.
    fn take_over_soon(self: &Arc<Self>) {
        if self.state().others.is_empty() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let metrics = self.clone();
            runtime.spawn_blocking(move || metrics.take_over());
        }
    }

    /// Takes over what a generation leaves when it has ended. Without it, its end is noticed when
    /// the generations are looked at.
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

    /// Looks which of the others have ended.
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
                tracing::warn!(generation, pid, %error, "cannot read what another generation has counted");
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
        // A panic leaves each part of it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether another generation reads the page of this one, and those of the others.
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
