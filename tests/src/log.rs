//! What a line of processes writes to its standard output and standard error, and waiting for it.

use std::{
    io::{BufRead, BufReader, PipeReader},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use tokio::sync::watch;

use super::DEADLINE;

/// The lines so far, of all generations: they share one pipe.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    length: watch::Receiver<usize>,
}

impl Log {
    /// Reads the pipe to its end, in a thread of its own. The end comes when the last writer is gone.
    pub(crate) fn read(pipe: PipeReader) -> (Self, JoinHandle<()>) {
        let (sender, length) = watch::channel(0);
        let log = Self { lines: Arc::default(), length };
        let lines = log.lines.clone();
        let reading = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                sender.send_modify(|length| *length += 1);
                line.clear();
            }
        });
        (log, reading)
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lines there are: a place to wait from.
    pub fn len(&self) -> usize {
        self.lines().len()
    }

    /// How many lines from `start` on are wanted.
    pub fn count_from(&self, start: usize, mut wanted: impl FnMut(&str) -> bool) -> usize {
        self.lines().iter().skip(start).filter(|line| wanted(line)).count()
    }

    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// The first wanted line from `start` on, now or when it comes; `None` when the last writer is gone without one.
    pub async fn find_from(&self, start: usize, mut wanted: impl FnMut(&str) -> bool) -> Option<String> {
        let mut length = self.length.clone();
        let mut seen = start;
        loop {
            let open = length.has_changed().is_ok();
            length.borrow_and_update();
            {
                let lines = self.lines();
                if let Some(line) = lines.iter().skip(seen).find(|line| wanted(line)) {
                    return Some(line.clone());
                }
                seen = seen.max(lines.len());
            }
            if !open {
                return None;
            }
            // An error is the end of the pipe; then the rest is looked at once more.
            _ = length.changed().await;
        }
    }

    /// As [`find_from`](Self::find_from), and panics at the deadline.
    pub async fn wait_from(&self, start: usize, what: &str, wanted: impl FnMut(&str) -> bool) -> String {
        match tokio::time::timeout(DEADLINE, self.find_from(start, wanted)).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("every process ended before the log said: {what}"),
            Err(_) => panic!("the log did not say within {DEADLINE:?}: {what}"),
        }
    }
}

/// Whether the line says that this generation serves.
pub(crate) fn is_serving(line: &str, generation: u64) -> bool {
    line.contains("serving") && field(line, "generation").is_some_and(|value| value == generation.to_string())
}

/// The value of `name=value` in a line, without its quotes.
pub(crate) fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}
