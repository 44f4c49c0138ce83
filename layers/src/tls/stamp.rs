//! Whether a file has changed since it was read.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

/// The state of all files of a [`TlsReloader`](super::TlsReloader) at one moment, to be compared with that at another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStamps(Vec<Option<Stamp>>);

/// What tells one state of a file from the next (inode(7)): where it is, its size, and when it was changed last, in whatever way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl FileStamps {
    /// As they are now; one that cannot be looked at is in a state of its own.
    pub(super) fn of(files: &[PathBuf]) -> Self {
        let stamp = |file: &PathBuf| {
            let found = fs::metadata(file).ok()?;
            let changed = (found.ctime(), found.ctime_nsec());
            Some(Stamp { device: found.dev(), inode: found.ino(), bytes: found.size(), changed })
        };
        Self(files.iter().map(stamp).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_beside_a_file_is_none_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("cert.pem"), "old").unwrap();
        let files = [at("cert.pem"), at("missing.pem")];
        let before = FileStamps::of(&files);
        fs::write(at("log"), "told").unwrap();
        assert_eq!(FileStamps::of(&files), before);
        fs::write(at("new.pem"), "new").unwrap();
        fs::rename(at("new.pem"), at("cert.pem")).unwrap();
        assert_ne!(FileStamps::of(&files), before);
    }
}
