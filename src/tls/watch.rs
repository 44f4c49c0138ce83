//! Watching files: the directories that they are in, so that a file that is replaced by another one
//! is seen, too.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// See the module. It stops when it is dropped.
pub(super) struct Watcher {
    /// `None` where the system gives no more.
    inotify: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
}

impl Watcher {
    /// Something comes whenever one of the directories has changed that these files are in, or are
    /// led to by symbolic links.
    pub(super) fn new(files: &[PathBuf]) -> (Self, mpsc::Receiver<()>) {
        // One is enough to say that there were some.
        let (tell, changes) = mpsc::channel(1);
        let told = move |event: notify::Result<Event>| {
            if !matches!(event, Ok(Event { kind: EventKind::Access(_), .. })) {
                _ = tell.try_send(());
            }
        };
        let inotify = notify::recommended_watcher(told);
        let inotify = inotify
            .inspect_err(|error| tracing::warn!(%error, "files cannot be watched: their changes are found later, by a look every now and then"))
            .ok();
        let mut watcher = Self { inotify, directories: BTreeSet::new() };
        watcher.watch(files);
        (watcher, changes)
    }

    /// Watches these files, and no others.
    pub(super) fn watch(&mut self, files: &[PathBuf]) {
        let Some(inotify) = &mut self.inotify else { return };
        // All anew: a directory of the same name may be another one by now, and its watch that of
        // the old one.
        for directory in std::mem::take(&mut self.directories) {
            // It may be gone from the disk as well, and its watch with it.
            _ = inotify.unwatch(&directory);
        }
        let directories: BTreeSet<PathBuf> = files.iter().flat_map(|file| on_the_way(file)).collect();
        for directory in directories {
            match inotify.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => _ = self.directories.insert(directory),
                Err(error) => {
                    tracing::warn!(
                        directory = %directory.display(),
                        %error,
                        "this directory cannot be watched: its changes are found later, by a look every now and then"
                    );
                }
            }
        }
    }
}

/// The directories in which a change can lead to another content: that of the file, and those of
/// the symbolic links that are followed from it, at most as many as the kernel follows
/// (path_resolution(7)).
fn on_the_way(file: &Path) -> Vec<PathBuf> {
    const LINKS: usize = 40;

    let (mut directories, mut path) = (Vec::<PathBuf>::new(), file.to_owned());
    for _ in 0..LINKS {
        let Some(directory) = path.parent() else { break };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        directories.push(directory.to_owned());
        // Also a link further up (Kubernetes' `..data`) leads elsewhere by a change in the
        // directory that it is in.
        for above in directory.ancestors().filter(|above| above.is_symlink()) {
            directories.extend(above.parent().map(Path::to_owned));
        }
        match std::fs::read_link(&path) {
            Ok(target) => path = directory.join(target),
            Err(_) => break,
        }
    }
    // By their own names: the same name leads to another directory once a link is switched.
    directories.iter().filter_map(|directory| directory.canonicalize().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, time::Duration};

    use super::*;

    async fn seen(changes: &mut mpsc::Receiver<()>) {
        tokio::time::timeout(Duration::from_secs(10), changes.recv()).await.expect("seen in time").unwrap();
        while tokio::time::timeout(Duration::from_millis(50), changes.recv()).await.is_ok() {}
    }

    #[tokio::test]
    async fn a_file_that_is_written_or_replaced_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cert.pem");
        fs::write(&file, "old").unwrap();
        let (_watcher, mut changes) = Watcher::new(std::slice::from_ref(&file));
        fs::write(&file, "new").unwrap();
        seen(&mut changes).await;
        let beside = directory.path().join("cert.new");
        fs::write(&beside, "newer").unwrap();
        seen(&mut changes).await;
        fs::rename(&beside, &file).unwrap();
        seen(&mut changes).await;
    }

    #[tokio::test]
    async fn a_directory_that_is_replaced_is_seen_and_so_is_what_changes_in_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let make = |name: &str| {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("cert.pem"), name).unwrap();
        };
        make("certs");
        let file = [at("certs").join("cert.pem")];
        let (mut watcher, mut changes) = Watcher::new(&file);
        make("certs.new");
        fs::rename(at("certs"), at("certs.old")).unwrap();
        fs::rename(at("certs.new"), at("certs")).unwrap();
        seen(&mut changes).await;
        watcher.watch(&file);
        fs::write(&file[0], "by hand").unwrap();
        seen(&mut changes).await;
    }

    #[tokio::test]
    async fn links_that_are_switched_as_kubernetes_does_are_seen_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let version = |name: &str| {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("cert.pem"), name).unwrap();
        };
        version("..1");
        symlink("..1", at("..data")).unwrap();
        symlink("..data/cert.pem", at("cert.pem")).unwrap();
        let (mut watcher, mut changes) = Watcher::new(&[at("cert.pem")]);
        for (old, new) in [("..1", "..2"), ("..2", "..3")] {
            version(new);
            symlink(new, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
            fs::remove_dir_all(at(old)).unwrap();
            seen(&mut changes).await;
            watcher.watch(&[at("cert.pem")]);
        }
        // And what is written in the directory that it leads to now.
        fs::write(at("..3").join("cert.pem"), "by hand").unwrap();
        seen(&mut changes).await;
    }
}
