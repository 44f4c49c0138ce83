//! The listeners of this process, the inherited sockets, and whether all listeners are served.

use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use portcullis_layers::LocalAddress;
use tokio::sync::watch;

use super::{Acceptor, ActivatedSocket, DescriptorError, ListenAddr, ListeningSocket};

/// The name of the listener on the control path. It is reserved, even if there is no control path.
pub(crate) const CONTROL: &str = "control";

/// See the module.
#[derive(Debug)]
pub(crate) struct ListenerRegistry {
    listeners: Mutex<Listeners>,
    /// Whether all listeners are served.
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Listeners {
    entries: Vec<Entry>,
    /// Sockets that were passed to this process and that no listener uses yet.
    inherited: Vec<Inherited>,
    /// Names that no listener uses any more, but under which the service manager may store a
    /// socket.
    forgotten: Vec<String>,
    /// Names of listeners that are being created.
    reserved: Vec<Arc<str>>,
    /// Guards that delay readiness.
    delays: usize,
    /// A listener was dropped without having been served. A successor that serves only some of its
    /// listeners must never become ready.
    incomplete: bool,
    /// The listeners have been handed over: none can be added.
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

    /// The descriptor, which is unique.
    fn descriptor(&self) -> Option<RawFd> {
        self.socket().map(|socket| socket.as_fd().as_raw_fd())
    }

    /// Whether the service manager may store it under this name.
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
    /// The listeners have been handed over, or this generation drains.
    TooLate,
}

/// A reserved name. This generation is not ready while a reservation exists. Dropping it releases
/// the name.
#[derive(Debug)]
pub(crate) struct ReservedName {
    registry: Arc<ListenerRegistry>,
    name: Arc<str>,
}

/// How the inherited sockets are used.
#[derive(Debug)]
pub(crate) struct InheritedUse {
    /// The names of those that a listener uses.
    pub(crate) used: Vec<String>,
    /// The names of the listeners that were bound by this process.
    pub(crate) bound: Vec<String>,
    /// The names of those that no listener uses.
    pub(crate) unwanted: Vec<String>,
}

/// A listener, as it is handed over to the next generation.
#[derive(Debug)]
pub(crate) struct RegisteredListener {
    pub(crate) name: Arc<str>,
    /// The address in the configuration.
    pub(crate) uri: String,
    pub(crate) acceptor: Arc<Acceptor>,
}

impl ListenerRegistry {
    /// Creates a registry with the sockets that the predecessor or the service manager passed.
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
        // Prefers the one with this name. The lock is not held while a host name is resolved.
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

    /// Removes a listener. Returns whether it was never served.
    ///
    /// `deliberately`: the application closed it without serving it.
    pub(crate) fn remove(&self, name: &str, deliberately: bool) -> bool {
        self.change(|listeners| {
            let removed = listeners.entries.extract_if(.., |entry| &*entry.name == name);
            let unserved = removed.filter(|entry| !entry.serving).count() > 0;
            listeners.incomplete |= unserved && !deliberately;
            unserved
        })
    }

    /// Marks the listener as served.
    pub(crate) fn set_served(&self, name: &str) {
        self.change(|listeners| {
            for entry in listeners.entries.iter_mut().filter(|entry| &*entry.name == name) {
                entry.serving = true;
            }
        });
    }

    /// Rejects new listeners, or (`false`) allows them again.
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
        // An error would mean that the sender was dropped, but `self` holds it.
        _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// The names of the listeners that are not served.
    pub(crate) fn unserved(&self) -> Vec<String> {
        let listeners = self.lock();
        let unserved = listeners.entries.iter().filter(|entry| !entry.serving);
        unserved.map(|entry| entry.name.to_string()).collect()
    }

    /// The number of listeners that are served.
    pub(crate) fn served(&self) -> usize {
        self.lock().entries.iter().filter(|entry| entry.serving).count()
    }

    /// Returns how the inherited sockets are used, and closes those that no listener uses.
    pub(crate) fn resolve_inherited(&self) -> InheritedUse {
        self.lock().resolve_inherited()
    }

    /// Names whose sockets the service manager should remove from its store.
    pub(crate) fn forgotten(&self) -> Vec<String> {
        self.lock().forgotten.clone()
    }

    /// All listeners.
    pub(crate) fn listeners(&self) -> Vec<RegisteredListener> {
        self.lock().entries.iter().map(Entry::registered).collect()
    }

    /// The listeners that a successor with these names does not continue.
    pub(crate) fn unclaimed(&self, used: &[String]) -> Vec<Arc<Acceptor>> {
        let listeners = self.lock();
        let unclaimed =
            listeners.entries.iter().filter(|entry| !used.iter().any(|used| **used == *entry.name));
        unclaimed.map(|entry| entry.acceptor.clone()).collect()
    }

    /// Changes the listeners, and wakes the tasks that wait for readiness.
    fn change<T>(&self, change: impl FnOnce(&mut Listeners) -> T) -> T {
        let mut listeners = self.lock();
        let result = change(&mut listeners);
        let is_ready = listeners.is_ready();
        self.ready.send_if_modified(|ready| std::mem::replace(ready, is_ready) != is_ready);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        // No code panics while the lock is held, and each change leaves the listeners valid.
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
        // The control path is served from the start, and does not make a generation ready on its
        // own.
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

    /// The descriptor with this name that the service manager passed from a `.socket` unit.
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

    /// Adds the listener. `uri`: the address in the configuration. `inherited`: the name under
    /// which its socket was passed to this process.
    ///
    /// # Errors
    ///
    /// If the listeners were handed over since the name was reserved: the successor would not get it.
    pub(crate) fn enter(
        self,
        uri: String,
        acceptor: Arc<Acceptor>,
        inherited: Option<String>,
    ) -> Result<Arc<str>, NameError> {
        let name = self.name.clone();
        self.registry.change(|listeners| {
            if listeners.frozen {
                return Err(NameError::TooLate);
            }
            listeners.entries.push(Entry { name: name.clone(), uri, acceptor, inherited, serving: false });
            Ok(())
        })?;
        Ok(name)
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

    #[tokio::test]
    async fn a_listener_that_is_made_while_a_restart_begins_is_in_the_manifest_or_fails() {
        let registry = Arc::new(ListenerRegistry::new([], Vec::new()));
        let acceptor = || {
            let socket = "tcp://127.0.0.1:0".parse::<ListenAddr>().unwrap().bind().unwrap();
            Arc::new(Acceptor::new(socket, false).unwrap())
        };
        let (early, late) = (registry.reserve("early").unwrap(), registry.reserve("late").unwrap());
        early.enter("tcp://127.0.0.1:0".to_owned(), acceptor(), None).unwrap();
        registry.freeze(true);
        let manifest: Vec<_> = registry.listeners().into_iter().map(|listener| listener.name).collect();
        assert_eq!(manifest, ["early".into()]);

        let socket = acceptor();
        let entered = late.enter("tcp://127.0.0.1:0".to_owned(), socket.clone(), None);
        assert_eq!(entered, Err(NameError::TooLate));
        assert_eq!(Arc::strong_count(&socket), 1, "the socket is released");
        registry.freeze(false);
        assert!(registry.reserve("late").is_ok(), "and the name");
    }

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
