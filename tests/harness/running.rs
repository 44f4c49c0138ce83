//! What was started, all of it, and what it says.

use std::{io::PipeReader, path::Path, thread::JoinHandle};

use super::{Exit, Log, Process, descendants, within};

/// A process that was started, and its family.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) family: Family,
}

/// The processes of one mark, of all generations. Dropped, they are killed; the log is printed if the test has failed.
pub(super) struct Family {
    pub(super) log: Log,
    reading: Option<JoinHandle<()>>,
    mark: String,
}

impl Family {
    /// Those with this mark, which write to this pipe.
    pub(super) fn new(mark: String, pipe: PipeReader) -> Self {
        let (log, reading) = Log::read(pipe);
        Self { log, reading: Some(reading), mark }
    }

    /// Their pids.
    pub(super) fn pids(&self) -> Vec<u32> {
        descendants::marked(&self.mark)
    }

    fn kill(&mut self) {
        descendants::kill_all(&self.mark);
        // Nobody is left who could write, so reading comes to its end.
        if let Some(reading) = self.reading.take() {
            reading.join().expect("reading does not panic");
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        self.kill();
        if failed {
            eprintln!("---- log of the server ----\n{}\n---- end of the log ----", self.log.text());
        }
    }
}

/// How one ended that was not to serve, and what it said.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) said: String,
}

impl Ended {
    /// Waits for the end.
    pub(super) async fn of(Running { process, mut family }: Running) -> Self {
        let exit = within("the server's own end", process.end()).await;
        family.kill();
        Self { exit, said: family.log.text() }
    }

    /// With an error that has all of these words.
    #[track_caller]
    pub(crate) fn refused(&self, words: &[&str]) {
        let Self { exit, said } = self;
        assert!(matches!(exit, Exit::Code(code) if *code != 0), "{words:?}: {exit:?}: {said}");
        assert!(!said.contains("panicked"), "{words:?}: an error, not a panic: {said}");
        for word in words {
            assert!(said.contains(word), "{word:?} should be in: {said}");
        }
    }

    /// With an error that names this path.
    #[track_caller]
    pub(crate) fn refused_for(&self, path: &Path) {
        self.refused(&[path.to_str().expect("text")]);
    }
}
