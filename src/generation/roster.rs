//! The listeners of a generation: which it was handed, which it has, and whether all of them are served.

use std::{collections::HashMap, os::fd::AsFd, sync::Arc};

use super::Shared;
use crate::{
    bind::{Bind, ListeningSocket},
    handoff::{Claim, ListenerEntry},
    listener::Acceptor,
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: Vec<Entry>,
    /// Handed down by the predecessor and not asked for yet.
    inherited: HashMap<String, (ListenerEntry, ListeningSocket)>,
    /// Reasons not to be ready yet; see [`super::Hold`].
    holds: usize,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    uri: String,
    acceptor: Arc<Acceptor>,
    inherited: bool,
    serving: bool,
}

/// What the manifest says of the listeners, and the sockets in the same order.
pub(super) struct Inventory {
    pub(super) entries: Vec<ListenerEntry>,
    pub(super) acceptors: Vec<Arc<Acceptor>>,
}

impl Roster {
    pub(super) fn new(inherited: Vec<(ListenerEntry, ListeningSocket)>) -> Self {
        let inherited = inherited.into_iter().map(|(entry, socket)| (entry.name.clone(), (entry, socket)));
        Self { inherited: inherited.collect(), ..Self::default() }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| &*entry.name == name)
    }

    /// Takes the inherited socket with this name, if it is what `bind` asks for. One that is not stays: it is
    /// not wanted, and closed when that is told to the predecessor.
    pub(super) fn take_inherited(&mut self, name: &str, bind: &Bind) -> Option<ListeningSocket> {
        let (entry, socket) = self.inherited.get(name)?;
        if entry.uri != bind.to_string() && !bind.matches(&socket.local_address()) {
            return None;
        }
        self.inherited.remove(name).map(|(_, socket)| socket)
    }

    pub(super) fn enter(&mut self, name: Arc<str>, bind: &Bind, acceptor: Arc<Acceptor>, inherited: bool) {
        self.entries.push(Entry { name, uri: bind.to_string(), acceptor, inherited, serving: false });
    }

    pub(super) fn leave(&mut self, name: &str) {
        self.entries.retain(|entry| &*entry.name != name);
    }

    pub(super) fn serve(&mut self, name: &str) {
        for entry in self.entries.iter_mut().filter(|entry| &*entry.name == name) {
            entry.serving = true;
        }
    }

    pub(super) const fn hold(&mut self) {
        self.holds += 1;
    }

    pub(super) const fn release(&mut self) {
        self.holds -= 1;
    }

    /// Whether there is something to serve, and all of it is.
    pub(super) fn is_ready(&self) -> bool {
        self.holds == 0 && !self.entries.is_empty() && self.entries.iter().all(|entry| entry.serving)
    }

    /// How many listeners there are.
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says what became of the inherited sockets, and closes those that nobody asked for.
    pub(super) fn claim(&mut self) -> Claim {
        let names = |inherited| {
            let entries = self.entries.iter().filter(move |entry| entry.inherited == inherited);
            entries.map(|entry| entry.name.to_string()).collect()
        };
        Claim {
            used: names(true),
            bound: names(false),
            unwanted: self.inherited.drain().map(|(name, _)| name).collect(),
        }
    }

    /// What there is to hand over.
    pub(super) fn inventory(&self) -> Inventory {
        let describe = |entry: &Entry| ListenerEntry {
            name: entry.name.to_string(),
            socket: entry.acceptor.describe(),
            uri: entry.uri.clone(),
        };
        Inventory {
            entries: self.entries.iter().map(describe).collect(),
            acceptors: self.entries.iter().map(|entry| entry.acceptor.clone()).collect(),
        }
    }
}

impl Inventory {
    pub(super) fn descriptors(&self) -> Vec<std::os::fd::BorrowedFd<'_>> {
        self.acceptors.iter().map(|acceptor| acceptor.as_fd()).collect()
    }

    /// Removes all Unix paths.
    pub(super) fn unlink(&self) {
        self.acceptors.iter().for_each(|acceptor| acceptor.unlink());
    }

    /// Removes the Unix paths of the listeners that the successor does not go on with. Only once it serves.
    pub(super) fn unlink_unclaimed(&self, claim: &Claim) {
        for (entry, acceptor) in self.entries.iter().zip(&self.acceptors) {
            if !claim.used.contains(&entry.name) {
                acceptor.unlink();
            }
        }
    }
}

/// A listener's place in the roster; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: Arc<str>,
    pub(crate) acceptor: Arc<Acceptor>,
    /// See [`GracefulListener::accept_while_draining`](crate::GracefulListener::accept_while_draining).
    pub(crate) attending: bool,
}

impl Seat {
    /// Says that the listener is being served.
    pub(crate) fn serve(&self) {
        self.shared.with_roster(|roster| roster.serve(&self.name));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.with_roster(|roster| roster.leave(&self.name));
    }
}
