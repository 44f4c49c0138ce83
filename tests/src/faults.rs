//! Faults that the processes of a server carry out when they pass a point of the handoff (`portcullis::faults`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use portcullis::faults::{PASSED, Point};

use super::{Process, until};

/// Where the orders of a server lie.
#[derive(Debug)]
pub struct Faults {
    directory: PathBuf,
}

impl Faults {
    pub fn at(directory: PathBuf) -> Self {
        fs::create_dir(&directory).expect("a directory of ours");
        Self { directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The next process that passes this point does these: `kill`, `exit`, `panic`, `stop`, `term`,
    /// `sick`, `cut`, `garble`, `delay=MS`.
    pub fn order(&self, point: Point, faults: &str) {
        // It must be there as a whole.
        let new = self.directory.join("new");
        fs::write(&new, faults).expect("a directory of ours");
        fs::rename(new, self.directory.join(point.as_str())).expect("a directory of ours");
    }

    /// Orders that it stands still there, has it come there, and waits until it has.
    pub async fn stop(&self, point: Point, come: impl FnOnce()) -> Process {
        self.stop_and(point, "", come).await
    }

    /// The same; when it goes on, it does `then`.
    pub async fn stop_and(&self, point: Point, then: &str, come: impl FnOnce()) -> Process {
        let start = self.passed().len();
        self.order(point, &format!("stop {then}"));
        come();
        until(&format!("a process stands still at {point:?}"), async || {
            let passed = self.passed();
            let mut there = passed[start..].iter().filter(|(_, at)| at == point.as_str());
            let process = there.next_back().map(|(pid, _)| Process::new(*pid));
            process.filter(Process::is_stopped).ok_or(passed)
        })
        .await
    }

    /// Nobody need come by there any more.
    pub fn withdraw(&self, point: Point) {
        _ = fs::remove_file(self.directory.join(point.as_str()));
    }

    /// Whether nothing that was ordered is still to come.
    pub fn all_done(&self) -> bool {
        let left = fs::read_dir(&self.directory).expect("a directory of ours").flatten();
        left.into_iter().all(|entry| entry.file_name() == PASSED)
    }

    /// Who has passed which point, in order.
    pub fn passed(&self) -> Vec<(u32, String)> {
        let text = fs::read_to_string(self.directory.join(PASSED)).unwrap_or_default();
        let line = |line: &str| {
            let (pid, point) = line.split_once(' ')?;
            Some((pid.parse().ok()?, point.to_owned()))
        };
        text.lines().map(|text| line(text).unwrap_or_else(|| panic!("not a point: {text:?}"))).collect()
    }
}
