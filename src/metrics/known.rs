//! Another generation, and what is known of it.

use super::families::Families;
use crate::handoff::Elder;

/// A generation whose page is read, and what was last seen of it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) elder: Elder,
    pub(super) counted: Families,
    pub(super) over: bool,
    /// That its page cannot be read was told.
    told: bool,
}

impl Known {
    pub(super) fn new(elder: Elder) -> Self {
        Self { elder, counted: Families::default(), over: false, told: false }
    }

    /// Looks whether it is over.
    pub(super) fn look(&mut self) {
        if !self.over && !self.elder.lives() {
            // In this order: what it wrote last is there once its end is seen.
            self.read();
            self.over = true;
        }
    }

    /// Reads its page again, unless that was its last.
    pub(super) fn read(&mut self) {
        if self.over {
            return;
        }
        match self.elder.page.read() {
            Ok(text) => self.counted = Families::read(&text),
            // What was read before stays: totals do not fall.
            Err(error) if !self.told => {
                self.told = true;
                let Elder { generation, pid, .. } = self.elder;
                tracing::warn!(generation, pid, %error, "cannot read what another generation has counted");
            }
            Err(_) => {}
        }
    }
}
