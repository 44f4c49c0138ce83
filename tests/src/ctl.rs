//! The program `ctl` (`examples/ctl.rs`), as a deploy script calls it.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{descendants, program::program, within};

/// A client that is not started yet.
pub struct Ctl {
    program: PathBuf,
    path: PathBuf,
    user: Option<u32>,
}

/// How it ended, and what it said.
#[derive(Debug)]
pub struct Told {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ctl {
    /// Asks the server with this control path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { program: program("ctl"), path: path.into(), user: None }
    }

    /// Another copy of the program.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = path.into();
        self
    }

    /// Runs as this user, which only root can have it do.
    pub fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Waits for its end.
    pub async fn ask(&self, arguments: &[&str]) -> Told {
        within("the end of ctl", self.start(arguments)).await
    }

    /// Started when this returns; the future waits for its end.
    pub fn start(&self, arguments: &[&str]) -> impl Future<Output = Told> + use<> {
        let mut command = Command::new(&self.program);
        command
            .arg(&self.path)
            .args(arguments)
            .env(descendants::VARIABLE, descendants::mark())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let forking = descendants::forking();
        let child = command.spawn().expect("ctl can be started");
        drop(forking);
        let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
        async move {
            let output = waiting.await.expect("no panic").expect("its output can be read");
            let text = |bytes| String::from_utf8(bytes).expect("text");
            Told { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
        }
    }
}

impl Told {
    /// It was done; what it printed.
    #[track_caller]
    pub fn done(&self) -> &str {
        assert!(self.code == Some(0) && self.err.is_empty(), "it should have been done: {self:?}");
        &self.out
    }

    /// It was not done, and the reason says all of these.
    #[track_caller]
    pub fn failed(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "it should have failed: {self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} should be told: {self:?}");
        }
    }

    /// What it printed, as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

/// Where the tests have the control path of a server.
pub(crate) fn path_in(directory: &Path) -> PathBuf {
    directory.join("control.sock")
}
