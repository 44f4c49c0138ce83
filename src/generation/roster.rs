//! The listeners of a generation: which it was handed, which it has, and whether all of them are served.

use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::Arc,
};

use portcullis_layers::LocalAddress;

use super::{ListenError, Shared};
use crate::{
    bind::{DescriptorError, ListenAddr, ListeningSocket},
    control,
    handoff::{Claim, ListenerEntry},
    listener::Acceptor,
    systemd::Activated,
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: Vec<Entry>,
    /// Handed down and not asked for yet.
    inherited: Vec<Inherited>,
    /// Names that the service manager may keep a socket under, and that are not those of their listeners any more.
    gone: Vec<String>,
    /// Names that are being listened on just now.
    reserved: Vec<Arc<str>>,
    /// Reasons not to be ready yet; see [`super::Hold`].
    holds: usize,
    /// A listener went away without having been served. What this generation was to serve is not what it would
    /// serve, so it must never be ready.
    incomplete: bool,
    /// What there is has been told to a successor.
    frozen: bool,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    uri: String,
    acceptor: Arc<Acceptor>,
    /// What it was called by whoever handed it down.
    inherited: Option<String>,
    serving: bool,
}

/// What was handed down.
#[derive(Debug)]
enum Inherited {
    /// By the predecessor.
    Socket(ListenerEntry, ListeningSocket),
    /// By the service manager, to a first generation.
    Activated(Activated),
}

impl Inherited {
    fn name(&self) -> &str {
        match self {
            Self::Socket(entry, _) => &entry.name,
            Self::Activated(activated) => &activated.name,
        }
    }

    /// The socket, if it is one that can be listened on.
    fn socket(&self) -> Option<&ListeningSocket> {
        match self {
            Self::Socket(_, socket) => Some(socket),
            Self::Activated(activated) => activated.socket.as_ref().ok(),
        }
    }

    /// What tells it apart from all others.
    fn descriptor(&self) -> Option<RawFd> {
        self.socket().map(|socket| socket.as_fd().as_raw_fd())
    }

    /// Whether the service manager may keep it under this name.
    const fn may_be_kept(&self) -> bool {
        match self {
            Self::Socket(..) => true,
            Self::Activated(activated) => activated.stored,
        }
    }

    fn candidate(&self) -> Option<Candidate> {
        let (descriptor, address) = (self.descriptor()?, self.socket()?.local_address());
        Some(Candidate { descriptor, name: self.name().to_owned(), address })
    }
}

/// An inherited socket that may be what a listener asks for.
pub(super) struct Candidate {
    pub(super) descriptor: RawFd,
    name: String,
    address: LocalAddress,
}

impl Candidate {
    /// Whether it is what the listener of this name and `bind` asks for. Resolves a host name, which blocks.
    ///
    /// Any port of a host will do for port 0, and would be another listener's: that one is taken by its name alone.
    pub(super) fn is(&self, name: &str, bind: &ListenAddr) -> bool {
        (self.name == name || !bind.has_port_0()) && bind.matches(&self.address)
    }
}

impl Roster {
    pub(super) fn new(inherited: Vec<(ListenerEntry, ListeningSocket)>, activated: Vec<Activated>) -> Self {
        let inherited = inherited.into_iter().map(|(entry, socket)| Inherited::Socket(entry, socket));
        let inherited = inherited.chain(activated.into_iter().map(Inherited::Activated)).collect();
        Self { inherited, ..Self::default() }
    }

    /// Reserves a name for a listener, or says why not.
    pub(super) fn reserve(&mut self, name: &Arc<str>) -> Result<(), ListenError> {
        if self.frozen {
            return Err(ListenError::TooLate { name: name.to_string() });
        }
        let mut names = self.entries.iter().map(|entry| &entry.name).chain(&self.reserved);
        if names.any(|taken| taken == name) {
            return Err(ListenError::Duplicate { name: name.to_string() });
        }
        self.reserved.push(name.clone());
        Ok(())
    }

    /// Gives a reserved name back.
    pub(super) fn unreserve(&mut self, name: &str) {
        self.reserved.retain(|reserved| &**reserved != name);
    }

    /// What was handed down and not taken yet: the one with this name first.
    pub(super) fn candidates(&self, name: &str) -> Vec<Candidate> {
        let mut candidates: Vec<_> = self.inherited.iter().filter_map(Inherited::candidate).collect();
        candidates.sort_by(|a, b| (a.name != name, &a.name).cmp(&(b.name != name, &b.name)));
        candidates
    }

    /// Takes an inherited socket, and what it was called.
    pub(super) fn take_inherited(&mut self, descriptor: RawFd) -> Option<(String, ListeningSocket)> {
        let place = self.inherited.iter().position(|inherited| inherited.descriptor() == Some(descriptor))?;
        match self.inherited.swap_remove(place) {
            Inherited::Socket(entry, socket) => Some((entry.name, socket)),
            Inherited::Activated(activated) => Some((activated.name, activated.socket.ok()?)),
        }
    }

    /// What is wrong with what the service manager passed under this name, when none of it is what `bind` asks for.
    pub(super) fn misfit(&mut self, name: &str, bind: &ListenAddr) -> Option<DescriptorError> {
        let place = self.inherited.iter().position(|inherited| match inherited {
            Inherited::Activated(activated) => activated.name == name && !activated.stored,
            Inherited::Socket(..) => false,
        })?;
        match self.inherited.swap_remove(place) {
            Inherited::Activated(activated) => Some(activated.misfit(bind)),
            Inherited::Socket(..) => None,
        }
    }

    pub(super) fn enter(
        &mut self,
        name: Arc<str>,
        bind: &ListenAddr,
        acceptor: Arc<Acceptor>,
        inherited: Option<String>,
    ) {
        self.unreserve(&name);
        self.entries.push(Entry { name, uri: bind.to_string(), acceptor, inherited, serving: false });
    }

    /// The listener goes away. `deliberately`: it was not meant to be served.
    pub(super) fn leave(&mut self, name: &str, deliberately: bool) {
        let left = self.entries.extract_if(.., |entry| &*entry.name == name);
        self.incomplete |= left.filter(|entry| !entry.serving).count() > 0 && !deliberately;
    }

    pub(super) fn serve(&mut self, name: &str) {
        for entry in self.entries.iter_mut().filter(|entry| &*entry.name == name) {
            entry.serving = true;
        }
    }

    /// From now on there are no new listeners, or (`false`) there may be again.
    pub(super) const fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// The listeners that nobody serves.
    pub(super) fn unserved(&self) -> Vec<&str> {
        self.entries.iter().filter(|entry| !entry.serving).map(|entry| &*entry.name).collect()
    }

    pub(super) const fn hold(&mut self) {
        self.holds += 1;
    }

    pub(super) const fn release(&mut self) {
        self.holds -= 1;
    }

    /// Whether there is something to serve, and all of it is.
    pub(super) fn is_ready(&self) -> bool {
        // The control path is served from the start, and is nothing to serve by itself.
        let something = self.entries.iter().any(|entry| &*entry.name != control::NAME);
        let all_served = self.entries.iter().all(|entry| entry.serving);
        self.holds == 0 && self.reserved.is_empty() && !self.incomplete && something && all_served
    }

    /// How many listeners are served.
    pub(super) fn served(&self) -> usize {
        self.entries.iter().filter(|entry| entry.serving).count()
    }

    /// Says what became of the inherited sockets, and closes those that nobody asked for.
    pub(super) fn claim(&mut self) -> Claim {
        let renamed = self
            .entries
            .iter()
            .filter_map(|entry| entry.inherited.as_ref().filter(|old| **old != *entry.name));
        let unwanted = self.inherited.iter().filter(|inherited| inherited.may_be_kept()).map(Inherited::name);
        self.gone = renamed.cloned().chain(unwanted.map(str::to_owned)).collect();
        let used = self.entries.iter().filter_map(|entry| entry.inherited.clone()).collect();
        let bound = self.entries.iter().filter(|entry| entry.inherited.is_none());
        let bound = bound.map(|entry| entry.name.to_string()).collect();
        let mut unwanted = Vec::new();
        for inherited in self.inherited.drain(..) {
            match inherited {
                Inherited::Socket(entry, _) => unwanted.push(entry.name),
                Inherited::Activated(activated) => activated.close(),
            }
        }
        Claim { used, bound, unwanted }
    }

    /// What the service manager shall not keep any more.
    pub(super) fn gone(&self) -> Vec<String> {
        self.gone.clone()
    }

    /// What there is to hand over.
    pub(super) fn inventory(&self) -> Vec<(ListenerEntry, Arc<Acceptor>)> {
        let describe = |entry: &Entry| ListenerEntry {
            name: entry.name.to_string(),
            socket: entry.acceptor.describe(),
            uri: entry.uri.clone(),
        };
        self.entries.iter().map(|entry| (describe(entry), entry.acceptor.clone())).collect()
    }

    /// All sockets, and their names.
    pub(super) fn acceptors(&self) -> Vec<(Arc<str>, Arc<Acceptor>)> {
        self.entries.iter().map(|entry| (entry.name.clone(), entry.acceptor.clone())).collect()
    }

    /// The listeners that the successor does not go on with. Their Unix paths go once it serves.
    pub(super) fn unclaimed(&self, claim: &Claim) -> Vec<Arc<Acceptor>> {
        let unclaimed =
            self.entries.iter().filter(|entry| !claim.used.iter().any(|used| **used == *entry.name));
        unclaimed.map(|entry| entry.acceptor.clone()).collect()
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

    /// Leaves without having been served, and on purpose.
    pub(crate) fn give_up(&self) {
        self.shared.with_roster(|roster| roster.leave(&self.name, true));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.with_roster(|roster| roster.leave(&self.name, false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_takes_any_port_takes_no_other_listeners_socket() {
        let address = LocalAddress::Ip("127.0.0.1:6789".parse().unwrap());
        let public = Candidate { descriptor: 9, name: "public".to_owned(), address };
        let bind = |uri: &str| uri.parse::<ListenAddr>().unwrap();
        assert!(!public.is("probe", &bind("tcp://127.0.0.1:0")));
        assert!(public.is("public", &bind("tcp://127.0.0.1:0")), "its own it keeps");
        assert!(public.is("renamed", &bind("tcp://127.0.0.1:6789")), "the address says which one is meant");
        assert!(!public.is("public", &bind("tcp://127.0.0.1:6790")));
    }
}
