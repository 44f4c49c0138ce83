//! Statistics while the sockets change hands.

use std::{os::fd::OwnedFd, sync::Arc};

use super::{Page, Statistics};
use crate::handoff::Elder;

/// From the manifest until the successor has settled, or until this generation goes on by itself.
///
/// Meanwhile two generations read the pages of the older ones. Neither takes over what one of these leaves: it would be
/// in the page of this generation as well, and the other would count it twice. Dropped without
/// [`settled`](Self::settled), the handover was rolled back.
#[derive(Debug)]
#[must_use = "dropping it is a rollback"]
pub(crate) struct Handover {
    statistics: Arc<Statistics>,
    /// This generation first, then the older ones.
    generations: Vec<Elder>,
    /// The successor's.
    page: Page,
    end: End,
}

/// What becomes of the successor.
#[derive(Debug)]
enum End {
    /// It has not served, or cannot be told apart from others.
    Nothing,
    /// It may have served, and what it counted is this generation's if it does not stay.
    Served(Elder),
    /// It answers for all from now on.
    Settled,
}

impl Handover {
    pub(super) const fn new(statistics: Arc<Statistics>, generations: Vec<Elder>, page: Page) -> Self {
        Self { statistics, generations, page, end: End::Nothing }
    }

    /// What the successor is told of: this generation, then the older ones that still live.
    pub(crate) fn generations(&self) -> &[Elder] {
        &self.generations
    }

    /// The page that the successor shall write to, so that what it counts is not lost if it is rolled back.
    pub(crate) const fn page(&self) -> &Page {
        &self.page
    }

    /// The successor is about to serve. `process` is its pidfd.
    pub(crate) fn serves(&mut self, generation: u64, pid: u32, process: OwnedFd) {
        let page = self.page.clone();
        self.end = End::Served(Elder { generation, pid, page, process: process.into() });
    }

    /// The successor has settled, or goes on in any case.
    pub(crate) fn settled(mut self) {
        self.end = End::Settled;
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.end, End::Settled) {
            End::Nothing => self.statistics.rolled_back(None),
            End::Served(successor) => self.statistics.rolled_back(Some(successor)),
            End::Settled => {}
        }
    }
}
