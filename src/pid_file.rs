//! The pid file: which process serves.
//!
//! It is written to a temporary file beside it and renamed over it, so that a reader sees a whole
//! one and, between two generations, never none.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::{
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process,
};

/// The sticky bit: in such a directory only the owner of a file may replace it (rename(2)).
const STICKY: u32 = 0o1000;

/// A pid file that can be written, and has been once [`publish`](Self::publish) was called.
///
/// Dropping it removes the temporary file and leaves the pid file. Everything here blocks, briefly.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// Beside the path, for a rename cannot cross file systems.
    temporary: PathBuf,
    /// A descriptor that is closed when the file is written, so that it can be written when this process
    /// has no other left.
    reserve: Option<UnixDatagram>,
    /// Whether the temporary file is there.
    written: bool,
}

impl PidFile {
    /// Proves that the file can be written, by writing all of it to a temporary file beside it.
    ///
    /// A relative path is made absolute, so that a later change of directory does not matter. A
    /// path that is a symbolic link is refused like a directory: renaming would replace the
    /// link and leave its target, which is what others read, as it is; and following links
    /// while writing is how files get overwritten.
    pub(crate) fn prepare(path: impl AsRef<Path>) -> Result<Self, PidFileError> {
        let given = path.as_ref();
        let path = std::path::absolute(given).map_err(|source| PidFileError::write(given, source))?;
        let Some(name) = path.file_name() else {
            return Err(PidFileError::NotAFile { path, found: "a directory" });
        };
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.tmp", process::id()));
        let temporary = path.with_file_name(temporary);

        let mut this = Self { path, temporary, reserve: None, written: false };
        this.check_target()?;
        this.write()?;
        // A process that is killed before it publishes leaves nothing behind.
        this.discard();
        Ok(this)
    }

    /// The process that the file names now, if it lives and is another one. For the first of a line
    /// it may be a stranger's, or a number that was given anew since.
    pub(crate) fn names_another(&self) -> Option<u32> {
        let named = fs::read_to_string(&self.path).ok()?.trim().parse().ok()?;
        (named != process::id() && Path::new("/proc").join(format!("{named}")).exists()).then_some(named)
    }

    /// Puts this process' pid in the file, whatever was there. May be called again, after a
    /// rollback.
    ///
    /// Atomic: a reader finds the old content or the new, and a failure leaves the old.
    pub(crate) fn publish(&mut self) -> Result<(), PidFileError> {
        self.write()?;
        fs::rename(&self.temporary, &self.path).map_err(|source| PidFileError::write(&self.path, source))?;
        self.written = false;
        Ok(())
    }

    /// Removes the file if it still names this process. `true` if it was removed.
    ///
    /// For a full stop, when no successor can be about to publish: between reading and removing
    /// there is a moment in which it could.
    pub(crate) fn remove_if_ours(self) -> Result<bool, PidFileError> {
        let removed = match fs::read(&self.path) {
            Ok(found) if found == content().as_bytes() => fs::remove_file(&self.path).map(|()| true),
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map_err(|source| PidFileError::Remove { path: self.path.clone(), source }),
        }
    }

    /// What is at the path now must be something that a rename may replace.
    fn check_target(&self) -> Result<(), PidFileError> {
        let target = match fs::symlink_metadata(&self.path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(PidFileError::write(&self.path, source)),
        };
        let file_type = target.file_type();
        if !file_type.is_file() {
            let found = if file_type.is_symlink() {
                "a symbolic link"
            } else if file_type.is_dir() {
                "a directory"
            } else {
                "not a regular file"
            };
            return Err(PidFileError::NotAFile { path: self.path.clone(), found });
        }
        let directory = match self.path.parent() {
            Some(directory) => {
                fs::metadata(directory).map_err(|source| PidFileError::write(&self.path, source))?
            }
            None => return Ok(()),
        };
        // The one case in which the temporary file can be made and not be renamed.
        let us = rustix::process::geteuid();
        if directory.mode() & STICKY != 0
            && !us.is_root()
            && ![target.uid(), directory.uid()].contains(&us.as_raw())
        {
            return Err(PidFileError::Foreign { path: self.path.clone(), uid: target.uid() });
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), PidFileError> {
        self.reserve = None;
        let written = self.create().and_then(|mut file| {
            self.written = true;
            // Whatever the umask: supervisors of other users read it.
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.write_all(content().as_bytes())
        });
        // Not the file: one that is open keeps its file system from being unmounted.
        self.reserve = UnixDatagram::unbound().ok();
        written.map_err(|source| {
            self.discard();
            PidFileError::write(&self.path, source)
        })
    }

    /// Makes the temporary file, never through a link that somebody has put there.
    fn create(&self) -> io::Result<File> {
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o644).open(&self.temporary);
        match open() {
            // Its name has our pid: a process that had the pid before us was killed and left it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&self.temporary)?;
                open()
            }
            result => result,
        }
    }

    fn discard(&mut self) {
        if std::mem::take(&mut self.written) {
            // It is of no use to anybody, and there is nobody to tell.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        self.discard();
    }
}

fn content() -> String {
    format!("{}\n", process::id())
}

/// Why a pid file cannot be written or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PidFileError {
    /// The path is a directory, a symbolic link or a special file.
    #[error("cannot write the pid file `{}`: it is {found}", .path.display())]
    #[non_exhaustive]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// The file is another user's, in a directory with the sticky bit: it cannot be replaced.
    #[error(
        "cannot write the pid file `{}`: it belongs to the user with id {uid} and its directory is sticky",
        .path.display()
    )]
    #[non_exhaustive]
    Foreign {
        /// The path.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// It cannot be written.
    #[error("cannot write the pid file `{}`", .path.display())]
    #[non_exhaustive]
    Write {
        /// The path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// It cannot be removed.
    #[error("cannot remove the pid file `{}`", .path.display())]
    #[non_exhaustive]
    Remove {
        /// The path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl PidFileError {
    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotAFile { .. } => "name a regular file, or a path where nothing is",
            Self::Foreign { .. } => "remove it, or choose another path",
            Self::Write { .. } => "its directory must exist and this user be allowed to write to it",
            Self::Remove { .. } => return None,
        })
    }

    fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn nothing_but_the_pid_file_is_left_after_publishing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        fs::write(&path, "1\n").unwrap();
        let mut file = PidFile::prepare(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n", "preparing publishes nothing");

        file.publish().unwrap();
        assert_eq!(names(directory.path()), ["pid"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);

        assert!(file.remove_if_ours().unwrap());
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn a_reader_never_finds_half_a_pid_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let mut file = PidFile::prepare(&path).unwrap();
        file.publish().unwrap();
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| (0..500).for_each(|_| file.publish().unwrap()));
            while !publisher.is_finished() {
                assert_eq!(fs::read_to_string(&path).unwrap(), content());
            }
        });
    }

    #[test]
    fn it_tells_of_another_process_that_lives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let mut file = PidFile::prepare(&path).unwrap();
        assert_eq!(file.names_another(), None, "there is no file");
        fs::write(&path, "1\n").unwrap();
        assert_eq!(file.names_another(), Some(1));
        file.publish().unwrap();
        assert_eq!(file.names_another(), None, "it is this one");
        fs::write(&path, "4194305\n").unwrap();
        assert_eq!(file.names_another(), None, "more than a pid can be (proc(5))");
    }

    #[test]
    fn a_generation_that_is_killed_before_it_serves_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = PidFile::prepare(directory.path().join("pid")).unwrap();
        assert!(names(directory.path()).is_empty());
        drop(file);
    }

    #[test]
    fn it_is_published_again_after_a_rollback() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let mut file = PidFile::prepare(&path).unwrap();
        file.publish().unwrap();
        fs::write(&path, "4000000\n").unwrap();
        file.publish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), content());
        assert_eq!(names(directory.path()), ["pid"]);
    }

    #[test]
    fn the_successors_pid_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let mut file = PidFile::prepare(&path).unwrap();
        file.publish().unwrap();
        fs::write(&path, "4000000\n").unwrap();
        assert!(!file.remove_if_ours().unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "4000000\n");

        fs::remove_file(&path).unwrap();
        assert!(!PidFile::prepare(&path).unwrap().remove_if_ours().unwrap(), "one that is gone is no error");
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name| directory.path().join(name);
        fs::create_dir(at("directory")).unwrap();
        fs::write(at("target"), "precious").unwrap();
        symlink(at("target"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        mkfifoat(CWD, at("fifo"), Mode::RWXU).unwrap();
        let before = names(directory.path());

        for name in ["directory", "link", "dangling", "fifo"] {
            let error = PidFile::prepare(at(name)).unwrap_err();
            assert!(matches!(error, PidFileError::NotAFile { .. }), "{error:?}");
            assert!(error.to_string().contains(at(name).to_str().unwrap()), "{error}");
        }
        assert!(matches!(PidFile::prepare("/").unwrap_err(), PidFileError::NotAFile { .. }));
        assert_eq!(fs::read_to_string(at("target")).unwrap(), "precious");
        assert_eq!(names(directory.path()), before);
    }

    #[test]
    fn a_missing_directory_is_an_error_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/pid");
        let error = PidFile::prepare(&path).unwrap_err();
        assert!(matches!(error, PidFileError::Write { .. }), "{error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }

    #[test]
    fn what_a_killed_process_left_is_replaced_and_never_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, directory.path().join(format!(".pid.{}.tmp", process::id()))).unwrap();

        PidFile::prepare(&path).unwrap().publish().unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&path).unwrap(), content());
        assert!(!path.is_symlink());
    }

    #[test]
    fn a_relative_path_is_made_absolute_at_the_start() {
        // Nothing is written: the directory does not exist.
        let error = PidFile::prepare("no-such-directory/pid").unwrap_err();
        let here = std::env::current_dir().unwrap();
        assert!(error.to_string().contains(here.to_str().unwrap()), "{error}");
    }
}
