//! The sockets that outlive every generation: the descriptor store (`FileDescriptorStoreMax=`, systemd.service(5)).

use std::{
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
};

use rustix::process::{Resource, getrlimit};

/// The most descriptors that are kept.
const MOST: usize = 1024;
/// What a descriptor is called that came without a name (sd_pid_notify_with_fds(3)).
const UNNAMED: &str = "stored";
/// The bits of a mode that tell the type of a file (inode(7)).
const TYPE: u32 = 0o170_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    kept: Vec<Kept>,
    most: usize,
}

#[derive(Debug)]
struct Kept {
    name: String,
    identity: Option<Identity>,
    descriptor: OwnedFd,
}

/// A file, by device and inode: every generation stores the same sockets, under descriptors of its own.
type Identity = (u64, u64);

impl Store {
    /// One that leaves this process half of the descriptors that it may have.
    pub(super) fn new() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        let half = limit.and_then(|limit| usize::try_from(limit / 2).ok());
        Self { kept: Vec::new(), most: half.map_or(MOST, |half| half.min(MOST)) }
    }

    /// Keeps descriptors under a name. One that is kept already is renamed, and not kept twice.
    pub(super) fn put(&mut self, name: Option<String>, descriptors: Vec<OwnedFd>) {
        let name = name.unwrap_or_else(|| UNNAMED.to_owned());
        for descriptor in descriptors {
            let (descriptor, identity) = identify(descriptor);
            let same = |kept: &&mut Kept| identity.is_some() && kept.identity == identity;
            if let Some(kept) = self.kept.iter_mut().find(same) {
                kept.name.clone_from(&name);
            } else if self.kept.len() < self.most {
                tracing::info!(name, "a descriptor is kept");
                self.kept.push(Kept { name: name.clone(), identity, descriptor });
            } else {
                tracing::warn!(name, most = self.most, "a descriptor is not kept: there are too many");
                return;
            }
        }
    }

    /// Closes those with this name.
    pub(super) fn remove(&mut self, name: &str) {
        self.kept.retain(|kept| kept.name != name);
    }

    /// Closes them all.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.kept.iter().map(|kept| kept.descriptor.as_fd()).collect()
    }

    /// The names, as `LISTEN_FDNAMES` lists them.
    pub(super) fn names(&self) -> String {
        self.kept.iter().map(|kept| &*kept.name).collect::<Vec<_>>().join(":")
    }
}

/// Which file it is. `None` for what has no inode of its own, such as an eventfd.
fn identify(descriptor: OwnedFd) -> (OwnedFd, Option<Identity>) {
    let file = File::from(descriptor);
    let metadata = file.metadata().ok();
    let identity = metadata.filter(|file| file.mode() & TYPE != 0).map(|file| (file.dev(), file.ino()));
    (file.into(), identity)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn socket() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn copy(socket: &TcpListener) -> Vec<OwnedFd> {
        vec![socket.try_clone().unwrap().into()]
    }

    fn named(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    #[test]
    fn what_every_generation_stores_is_kept_once() {
        let (mut store, echo, admin) = (Store::new(), socket(), socket());
        for _ in 0..20 {
            store.put(named("echo"), copy(&echo));
            store.put(named("admin"), copy(&admin));
        }
        assert_eq!(store.names(), "echo:admin");
        store.put(named("public"), copy(&echo));
        assert_eq!(store.names(), "public:admin", "the newest name counts");
        store.remove("public");
        assert_eq!((store.names(), store.descriptors().len()), ("admin".to_owned(), 1));
    }

    #[test]
    fn there_is_a_limit() {
        let mut store = Store { kept: Vec::new(), most: 3 };
        for _ in 0..5 {
            store.put(None, vec![socket().into(), socket().into()]);
        }
        assert_eq!(store.names(), "stored:stored:stored");
        store.clear();
        assert!(store.descriptors().is_empty());
    }
}
