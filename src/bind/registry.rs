//! The listeners of this process: which sockets it inherited, which it has, and whether all are served.

use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use portcullis_layers::LocalAddress;
use tokio::sync::watch;

use super::{Acceptor, ActivatedSocket, DescriptorError, ListenAddr, ListeningSocket};

/// The name of the listener on the control path. No other listener has it, whether there is a
/// control path or not.
pub(crate) const CONTROL: &str = "control";

/// See the module.
#[derive(Debug)]
pub(crate) struct ListenerRegistry {
    listeners: Mutex<Listeners>,
    /// Whether everything that is to be served is served.
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Listeners {
    entries: Vec<Entry>,
    /// Passed to this process, and not taken by a listener yet.
    inherited: Vec<Inherited>,
    /// Names that the service manager may keep a socket under, and that no listener has any more.
    forgotten: Vec<String>,
    /// Names of listeners that are being made.
    reserved: Vec<Arc<str>>,
    /// Guards that delay readiness.
    delays: usize,
    /// A listener was dropped without having been served. A successor that serves only a part must
    /// never be ready.
    incomplete: bool,
    /// What there is has been handed over.
    frozen: bool,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    uri: String,
    acceptor: Arc<Acceptor>,
    /// The name under which the socket was passed.
    inherited: Option<String>,
    serving: bool,
}

/// A socket that was passed to this process.
#[derive(Debug)]
enum Inherited {
    /// By the predecessor, under this name.
    Socket(String, ListeningSocket),
    /// By the service manager, to a first generation.
    Activated(ActivatedSocket),
}

impl Inherited {
    fn name(&self) -> &str {
        match self {
            Self::Socket(name, _) => name,
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

/// An inherited socket that may be the one of a listener.
struct Candidate {
    descriptor: RawFd,
    name: String,
    address: LocalAddress,
}

impl Candidate {
    /// Whether it fits a listener of this name on `address`. Blocks: a host name is resolved.
    ///
    /// Port 0 matches every port of the host, also that of another listener: such a socket is taken
    /// by its name alone.
    fn is(&self, name: &str, address: &ListenAddr) -> bool {
        (self.name == name || !address.has_port_0()) && address.matches(&self.address)
    }
}

/// Why a name cannot be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameError {
    /// Another listener has it.
    Duplicate,
    /// The listeners have been handed over, or end.
    TooLate,
}

/// A name that no other listener can have. While there is one, this generation is not ready.
/// Dropping it gives the name back.
#[derive(Debug)]
pub(crate) struct ReservedName {
    registry: Arc<ListenerRegistry>,
    name: Arc<str>,
}

/// What became of the sockets that this process inherited.
#[derive(Debug)]
pub(crate) struct InheritedUse {
    /// The names of those that a listener has.
    pub(crate) used: Vec<String>,
    /// The names of the listeners that were bound by this process.
    pub(crate) bound: Vec<String>,
    /// The names of those that no listener asked for.
    pub(crate) unwanted: Vec<String>,
}

/// A listener, as the next generation gets it.
#[derive(Debug)]
pub(crate) struct RegisteredListener {
    pub(crate) name: Arc<str>,
    /// The address that it was asked to listen on.
    pub(crate) uri: String,
    pub(crate) acceptor: Arc<Acceptor>,
}

impl ListenerRegistry {
    /// With the sockets that the predecessor, or the service manager, passed to this process.
    pub(crate) fn new(
        inherited: impl IntoIterator<Item = (String, ListeningSocket)>,
        activated: Vec<ActivatedSocket>,
    ) -> Self {
        let inherited = inherited.into_iter().map(|(name, socket)| Inherited::Socket(name, socket));
        let inherited = inherited.chain(activated.into_iter().map(Inherited::Activated)).collect();
        let listeners = Mutex::new(Listeners { inherited, ..Listeners::default() });
        Self { listeners, ready: watch::Sender::new(false) }
    }

    /// Reserves a name for a listener.
    pub(crate) fn reserve(self: &Arc<Self>, name: &str) -> Result<ReservedName, NameError> {
        let name: Arc<str> = name.into();
        self.change(|listeners| {
            if listeners.frozen {
                return Err(NameError::TooLate);
            }
            let mut names = listeners.entries.iter().map(|entry| &entry.name).chain(&listeners.reserved);
            if names.any(|taken| *taken == name) {
                return Err(NameError::Duplicate);
            }
            listeners.reserved.push(name.clone());
            Ok(())
        })?;
        Ok(ReservedName { registry: self.clone(), name })
    }

    /// Takes the inherited socket that fits a listener of this name on `address`, and the name under
    /// which it was passed. `None` if there is none. Blocks: a host name is resolved.
    ///
    /// # Errors
    ///
    /// If the service manager passed a socket under this name that does not fit.
    pub(crate) fn take_inherited(
        &self,
        name: &str,
        address: &ListenAddr,
    ) -> Result<Option<(String, ListeningSocket)>, DescriptorError> {
        // The one with this name first. The lock is not held while a name is resolved.
        let mut candidates: Vec<_> = self.lock().inherited.iter().filter_map(Inherited::candidate).collect();
        candidates.sort_by(|a, b| (a.name != name, &a.name).cmp(&(b.name != name, &b.name)));
        let found = candidates.into_iter().find(|candidate| candidate.is(name, address));
        let mut listeners = self.lock();
        if let Some(found) = found
            && let Some(taken) = listeners.take(found.descriptor)
        {
            return Ok(Some(taken));
        }
        match listeners.mismatched(name) {
            Some(activated) => Err(activated.mismatch(address)),
            None => Ok(None),
        }
    }

    /// The listener is not served any more. Returns whether it never was.
    ///
    /// `deliberately`: it was not meant to be served.
    pub(crate) fn remove(&self, name: &str, deliberately: bool) -> bool {
        self.change(|listeners| {
            let removed = listeners.entries.extract_if(.., |entry| &*entry.name == name);
            let unserved = removed.filter(|entry| !entry.serving).count() > 0;
            listeners.incomplete |= unserved && !deliberately;
            unserved
        })
    }

    /// The listener is served from now on.
    pub(crate) fn set_served(&self, name: &str) {
        self.change(|listeners| {
            for entry in listeners.entries.iter_mut().filter(|entry| &*entry.name == name) {
                entry.serving = true;
            }
        });
    }

    /// From now on there are no new listeners, or (`false`) there may be again.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.lock().frozen = frozen;
    }

    /// Delays readiness until [`end_delay`](Self::end_delay) was called as often.
    pub(crate) fn delay(&self) {
        self.change(|listeners| listeners.delays += 1);
    }

    pub(crate) fn end_delay(&self) {
        self.change(|listeners| listeners.delays -= 1);
    }

    /// Waits until there is a listener, all are served, and nothing delays readiness.
    pub(crate) async fn ready(&self) {
        // An error would mean that the sender is gone, and it is ours.
        _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// The names of the listeners that are not served.
    pub(crate) fn unserved(&self) -> Vec<String> {
        let listeners = self.lock();
        let unserved = listeners.entries.iter().filter(|entry| !entry.serving);
        unserved.map(|entry| entry.name.to_string()).collect()
    }

    /// How many listeners are served.
    pub(crate) fn served(&self) -> usize {
        self.lock().entries.iter().filter(|entry| entry.serving).count()
    }

    /// Reports what became of the inherited sockets, and closes those that no listener asked for.
    pub(crate) fn resolve_inherited(&self) -> InheritedUse {
        self.lock().resolve_inherited()
    }

    /// Names under which the service manager shall not keep a socket any more.
    pub(crate) fn forgotten(&self) -> Vec<String> {
        self.lock().forgotten.clone()
    }

    /// All listeners.
    pub(crate) fn listeners(&self) -> Vec<RegisteredListener> {
        self.lock().entries.iter().map(Entry::registered).collect()
    }

    /// The listeners that a successor that uses these names does not go on with.
    pub(crate) fn unclaimed(&self, used: &[String]) -> Vec<Arc<Acceptor>> {
        let listeners = self.lock();
        let unclaimed =
            listeners.entries.iter().filter(|entry| !used.iter().any(|used| **used == *entry.name));
        unclaimed.map(|entry| entry.acceptor.clone()).collect()
    }

    /// Changes the listeners, and notifies what waits for readiness.
    fn change<T>(&self, change: impl FnOnce(&mut Listeners) -> T) -> T {
        let mut listeners = self.lock();
        let result = change(&mut listeners);
        let is_ready = listeners.is_ready();
        self.ready.send_if_modified(|ready| std::mem::replace(ready, is_ready) != is_ready);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        // Nothing panics while it is held; and were it so, the listeners would still be whole.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn registered(&self) -> RegisteredListener {
        let Self { name, uri, acceptor, .. } = self;
        RegisteredListener { name: name.clone(), uri: uri.clone(), acceptor: acceptor.clone() }
    }
}

impl Listeners {
    fn is_ready(&self) -> bool {
        // The control path is served from the start, and is nothing to serve by itself.
        let something = self.entries.iter().any(|entry| &*entry.name != CONTROL);
        let all_served = self.entries.iter().all(|entry| entry.serving);
        self.delays == 0 && self.reserved.is_empty() && !self.incomplete && something && all_served
    }

    fn take(&mut self, descriptor: RawFd) -> Option<(String, ListeningSocket)> {
        let place = self.inherited.iter().position(|inherited| inherited.descriptor() == Some(descriptor))?;
        match self.inherited.swap_remove(place) {
            Inherited::Socket(name, socket) => Some((name, socket)),
            Inherited::Activated(activated) => Some((activated.name, activated.socket.ok()?)),
        }
    }

    /// What the service manager passed under this name from a `.socket` unit.
    fn mismatched(&mut self, name: &str) -> Option<ActivatedSocket> {
        let place = self.inherited.iter().position(|inherited| match inherited {
            Inherited::Activated(activated) => activated.name == name && !activated.stored,
            Inherited::Socket(..) => false,
        })?;
        match self.inherited.swap_remove(place) {
            Inherited::Activated(activated) => Some(activated),
            Inherited::Socket(..) => None,
        }
    }

    fn resolve_inherited(&mut self) -> InheritedUse {
        let renamed = self
            .entries
            .iter()
            .filter_map(|entry| entry.inherited.as_ref().filter(|old| **old != *entry.name));
        let unwanted = self.inherited.iter().filter(|inherited| inherited.may_be_kept()).map(Inherited::name);
        self.forgotten = renamed.cloned().chain(unwanted.map(str::to_owned)).collect();
        let used = self.entries.iter().filter_map(|entry| entry.inherited.clone()).collect();
        let bound = self.entries.iter().filter(|entry| entry.inherited.is_none());
        let bound = bound.map(|entry| entry.name.to_string()).collect();
        let mut unwanted = Vec::new();
        for inherited in self.inherited.drain(..) {
            match inherited {
                Inherited::Socket(name, _) => unwanted.push(name),
                Inherited::Activated(activated) => activated.close(),
            }
        }
        InheritedUse { used, bound, unwanted }
    }
}

impl ReservedName {
    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }

    /// The listener is there. `uri`: the address it was asked to listen on. `inherited`: the name under
    /// which its socket was passed to this process.
    pub(crate) fn enter(self, uri: String, acceptor: Arc<Acceptor>, inherited: Option<String>) -> Arc<str> {
        let name = self.name.clone();
        self.registry.change(|listeners| {
            listeners.entries.push(Entry { name: name.clone(), uri, acceptor, inherited, serving: false });
        });
        name
    }
}

impl Drop for ReservedName {
    fn drop(&mut self) {
        self.registry.change(|listeners| listeners.reserved.retain(|reserved| *reserved != self.name));
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
