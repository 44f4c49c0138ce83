//! Metrics that go on over restarts.
//!
//! Each generation writes what it has counted to a [`page`] that others can read: its successor, and the successors of that
//! one as long as it lives. The pages travel with the sockets, each with a pidfd of who writes it. A generation shows
//! what it has counted itself, what the departed have left to it (`base`), and what stands on the pages of those that still
//! drain. When one of these is over, its last page becomes part of the base.
//!
//! How everything is counted once, and no total ever falls:
//!
//! - A page holds what its generation has counted and its base, never what stands on another page.
//! - While predecessor and successor both read the pages of the others (from the manifest until the predecessor is out of
//!   the way; a generation that has handed over: for ever), neither base changes. Who departs meanwhile is counted by both from
//!   its page, and stands on neither of theirs.
//! - A page that others may read is written once a second, and before a scrape shows what it holds. What somebody has seen
//!   is not lost, even if the process is killed.
//! - A successor writes to a page that it was given. If it is rolled back, its predecessor goes on with what it has counted.
//!
//! What is counted, and by which recorder, is not decided here: a generation has a source of text
//! ([`Statistics::count_with`]) in Prometheus' format, as our own exporter writes it. Without one, nothing goes on.

mod amount;
mod families;
mod handover;
mod histogram;
mod known;
mod labels;
mod page;

#[cfg(test)]
mod tests;

use std::{
    fmt, io, iter, mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use metrics::Gauge;
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};

pub(crate) use handover::Handover;
pub(crate) use page::Page;

use families::Families;
use known::Known;

use crate::handoff::Elder;

/// How often a page is written that others may read.
const EVERY: Duration = Duration::from_secs(1);

/// What this generation has counted, and what it knows of the others. See the module.
#[derive(Default)]
pub(crate) struct Statistics {
    source: OnceLock<Box<dyn Fn() -> String + Send + Sync>>,
    /// How many older generations live.
    draining: OnceLock<Gauge>,
    line: Mutex<Line>,
    /// There are others now.
    company: Notify,
}

/// This generation among the others.
#[derive(Debug, Default)]
struct Line {
    /// What departed generations have counted.
    base: Families,
    /// From the predecessor on, and a successor that was rolled back.
    others: Vec<Known>,
    page: Option<Page>,
    /// The predecessor may go on in the place of this generation.
    replaceable: bool,
    /// A successor was told of this generation and of the others.
    handed_over: bool,
    /// That the page cannot be written was told.
    told: bool,
}

impl Statistics {
    /// Those of the first of a line.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Begins as a successor: with the generations that it was told of, the predecessor first, and the page that it shall
    /// write to. Until [`settled`](Self::settled) is called, the predecessor may go on in its place.
    pub(crate) fn inherit(&self, elders: Vec<Elder>, page: Option<Page>) {
        let mut line = self.line();
        line.others = elders.into_iter().map(Known::new).collect();
        line.page = page;
        line.replaceable = true;
        self.company.notify_one();
    }

    /// The predecessor will not come back.
    pub(crate) fn settled(&self) {
        let mut line = self.line();
        line.replaceable = false;
        self.look(&mut line);
    }

    /// What this process counts. Only the first one is asked.
    #[cfg(any(feature = "admin", test))]
    pub(crate) fn count_with(&self, source: impl Fn() -> String + Send + Sync + 'static) {
        _ = self.source.set(Box::new(source));
    }

    /// The gauge that is to show how many older generations live.
    pub(crate) fn show_draining(&self, gauge: Gauge) {
        _ = self.draining.set(gauge);
        self.look(&mut self.line());
    }

    /// How many other generations live; all of them drain.
    pub(crate) fn draining(&self) -> usize {
        let mut line = self.line();
        self.look(&mut line);
        line.living()
    }

    /// Other generations, which drain, as far as they live.
    pub(crate) fn elders(&self) -> Vec<Elder> {
        let mut line = self.line();
        self.look(&mut line);
        line.others.iter().filter(|known| !known.over).map(|known| known.elder.clone()).collect()
    }

    /// Begins to hand over to a successor. `generation` is this one's number.
    ///
    /// # Errors
    ///
    /// If there are no descriptors left; nothing has changed then.
    pub(crate) fn begin_handover(self: &Arc<Self>, generation: u64) -> io::Result<Handover> {
        let mut line = self.line();
        self.look(&mut line);
        let process = pidfd_open(getpid(), PidfdFlags::empty())?;
        let successors = Page::create()?;
        let page = match &line.page {
            Some(page) => page.clone(),
            None => line.page.insert(Page::create()?).clone(),
        };
        let own = Elder { generation, pid: std::process::id(), page, process: process.into() };
        let generations = iter::once(own).chain(line.others.iter().map(|other| other.elder.clone()));
        let handover = Handover::new(self.clone(), generations.collect(), successors);
        line.handed_over = true;
        self.write(&mut line);
        self.company.notify_one();
        Ok(handover)
    }

    /// This generation goes on by itself. What its successor has counted is not lost.
    fn rolled_back(&self, successor: Option<Elder>) {
        let mut line = self.line();
        line.handed_over = false;
        line.others.extend(successor.map(Known::new));
        self.look(&mut line);
        self.company.notify_one();
    }

    /// Writes the page, if others may read it.
    pub(crate) fn publish(&self) {
        let mut line = self.line();
        self.look(&mut line);
        if line.is_shared() {
            self.write(&mut line);
        }
    }

    /// Everything there is to show of the line, but for what is this process' own business.
    #[cfg(any(feature = "admin", test))]
    pub(crate) fn render(&self) -> String {
        let mut line = self.line();
        self.look(&mut line);
        let mut shown = if line.is_shared() { self.write(&mut line) } else { self.own() };
        shown.add(&line.base);
        for other in &mut line.others {
            other.read();
            shown.add(&other.counted);
            if !other.over {
                shown.add_open(&other.counted, other.elder.generation);
            }
        }
        shown.to_string()
    }

    /// Keeps the page and what is known of the others fresh, for ever.
    pub(crate) async fn keep(&self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let alone = {
                let line = self.line();
                !line.is_shared() && line.others.is_empty()
            };
            if alone {
                self.company.notified().await;
            }
            ticks.tick().await;
            self.publish();
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Whoever panicked left each part of it whole.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the others, and takes over what the departed have left.
    fn look(&self, line: &mut Line) {
        line.others.iter_mut().for_each(Known::look);
        if !line.is_shared() {
            let (departed, living) = mem::take(&mut line.others).into_iter().partition(|known| known.over);
            line.others = living;
            departed.iter().for_each(|Known { counted, .. }: &Known| line.base.add(counted));
        }
        if let Some(gauge) = self.draining.get() {
            gauge.set(line.living() as f64);
        }
    }

    /// What this process has counted.
    fn own(&self) -> Families {
        self.source.get().map(|count| Families::read(&count())).unwrap_or_default()
    }

    /// Writes the page. Returns what this process has counted. With the lock held, so that no older numbers follow newer
    /// ones.
    fn write(&self, line: &mut Line) -> Families {
        let own = self.own();
        let Some(page) = &line.page else { return own };
        let mut text = own.clone().for_others();
        text.add(&line.base);
        if let Err(error) = page.write(&text.to_string())
            && !mem::replace(&mut line.told, true)
        {
            tracing::error!(%error, "cannot hand over what was counted: totals will begin anew in the next generation");
        }
        own
    }
}

impl Line {
    /// Whether another generation reads the page of this one, and those of the others.
    const fn is_shared(&self) -> bool {
        self.replaceable || self.handed_over
    }

    fn living(&self) -> usize {
        self.others.iter().filter(|known| !known.over).count()
    }
}

impl fmt::Debug for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statistics").field("line", &self.line).finish_non_exhaustive()
    }
}
