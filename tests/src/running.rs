//! What was started, all of it, and what it says.

use std::{io::PipeReader, path::Path, thread::JoinHandle};

use super::{Exit, Log, Process, descendants, within};

/// A process that was started, and its family.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) family: Family,
}

/// The processes of one mark, of all generations. Dropped, they are killed; the log is printed if the test has failed.
pub(crate) struct Family {
    pub(crate) log: Log,
    reading: Option<JoinHandle<()>>,
    mark: String,
}

impl Family {
    /// Those with this mark, which write to this pipe.
    pub(crate) fn new(mark: String, pipe: PipeReader) -> Self {
        let (log, reading) = Log::read(pipe);
        Self { log, reading: Some(reading), mark }
    }

    /// Their pids.
    pub(crate) fn pids(&self) -> Vec<u32> {
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
pub struct Ended {
    pub exit: Exit,
    pub said: String,
}

impl Ended {
    /// Waits for the end.
    pub(crate) async fn of(Running { process, mut family }: Running) -> Self {
        let exit = within("the server's own end", process.end()).await;
        family.kill();
        Self { exit, said: family.log.text() }
    }

    /// With an error that has all of these words.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        let Self { exit, said } = self;
        assert!(matches!(exit, Exit::Code(code) if *code != 0), "{words:?}: {exit:?}: {said}");
        assert!(!said.contains("panicked"), "{words:?}: an error, not a panic: {said}");
        for word in words {
            assert!(said.contains(word), "{word:?} should be in: {said}");
        }
    }

    /// With an error that names this path.
    #[track_caller]
    pub fn refused_for(&self, path: &Path) {
        self.refused(&[path.to_str().expect("text")]);
    }
}
