//! Programs that a test writes: a start command that can be rewritten while the server runs, and copies.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::descendants::forking;

/// A shell script. What it `exec`s can be replaced at any time, all at once.
#[derive(Clone, Debug)]
pub struct StartScript(PathBuf);

impl StartScript {
    /// At this path, where nothing is yet.
    pub const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// From now on it does this.
    pub fn write(&self, lines: &str) {
        self.write_with_mode(lines, 0o755);
    }

    /// From now on it cannot be executed, not even by root.
    pub fn forbid(&self) {
        self.write_with_mode("exit 0", 0o644);
    }

    pub fn remove(&self) {
        fs::remove_file(&self.0).expect("the script is there");
    }

    /// Beside it and then over it, so that a shell which reads it reads one script to the end.
    fn write_with_mode(&self, lines: &str, mode: u32) {
        let new = self.0.with_extension("new");
        let _forking = forking();
        fs::write(&new, format!("#!/bin/sh\n{lines}\n")).expect("a file of ours");
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("a file of ours");
        fs::rename(&new, &self.0).expect("a directory of ours");
    }
}

/// Copies a program, so that it can be executed at once.
pub fn copy_program(from: &Path, to: &Path) {
    let _forking = forking();
    fs::copy(from, to).expect("a directory of ours");
}
