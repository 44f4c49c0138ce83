//! What the service manager is told, and when: `sd_notify(3)`.
//!
//! All generations write to the same socket, and the manager must take what any of them says: at the time when a successor names
//! itself the main process, it is not that yet (`NotifyAccess=all`). A generation that only drains after a handoff
//! says nothing any more.

use std::{
    collections::VecDeque,
    io,
    os::{fd::AsFd, unix::net::UnixDatagram},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{io::Interest, sync::watch};

use super::{address::Address, message::Message, names, names_this_process, watchdog};
use portcullis_layers::ErrorChain;

use crate::{control, handoff::RestartError, lifecycle::Phase, listener::Acceptor, sys};

/// Tells the service manager, if there is one. Nobody waits for it, and nothing fails if it cannot be told.
#[derive(Clone, Debug)]
pub(crate) struct Notifier(Option<Arc<Manager>>);

/// The service manager.
#[derive(Debug)]
pub(super) struct Manager {
    address: Address,
    /// Time between two signs of life, if it wants any.
    watchdog: Option<Duration>,
    /// What it could not be told yet, for its queue is full. A task sends it in its order.
    waiting: Mutex<VecDeque<(Message, Option<Arc<Acceptor>>)>>,
    /// It could not be told the last time.
    unheard: AtomicBool,
}

/// Messages that wait for a manager that does not read, at most. The first of them may be on its way.
const MOST_WAITING: usize = 256;

/// A drain takes a moment longer than its limit, until what is cut off has ended.
const LAST_MOMENT: Duration = Duration::from_secs(5);

impl Notifier {
    /// Tells nobody.
    pub(crate) const fn silent() -> Self {
        Self(None)
    }

    /// Tells whoever `NOTIFY_SOCKET` names.
    ///
    /// `spawned`: by a predecessor, whose variables this process has; those that name a process name the first of the line.
    /// Otherwise they must name this one: a child of some service inherits its variables, and must not speak for it.
    pub(crate) fn from_environment(spawned: bool) -> Self {
        let Some(value) = std::env::var_os("NOTIFY_SOCKET").filter(|value| !value.is_empty()) else {
            return Self::silent();
        };
        let main = std::env::var_os("SYSTEMD_EXEC_PID");
        if !spawned && !names_this_process(main.as_deref()) {
            tracing::warn!(
                SYSTEMD_EXEC_PID = ?main,
                "NOTIFY_SOCKET is meant for another process and not used; what starts the server must `exec` it"
            );
            return Self::silent();
        }
        match Address::parse(&value) {
            Ok(address) => {
                let watchdog = watchdog::interval(|name| std::env::var_os(name), spawned);
                let (waiting, unheard) = (Mutex::default(), AtomicBool::new(false));
                Self(Some(Arc::new(Manager { address, watchdog, waiting, unheard })))
            }
            Err(reason) => {
                tracing::warn!(
                    ?value,
                    reason,
                    "NOTIFY_SOCKET cannot be used: no service manager is told anything"
                );
                Self::silent()
            }
        }
    }

    /// Gives the signs of life that the manager wants, while this generation serves. They come from the runtime: they
    /// stop when it does not turn.
    pub(crate) fn keep_alive(&self, phases: watch::Receiver<Phase>) {
        if let Some(manager) = self.0.clone()
            && let Some(every) = manager.watchdog
        {
            tokio::spawn(watchdog::keep_alive(manager, every, phases));
        }
    }

    /// Whether somebody is told.
    pub(crate) const fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a socket outlives this process in the manager's hands, also where it is told to end; then a Unix path stays
    /// with it. A supervisor of ours ends with its server.
    pub(crate) fn keeps(&self, listener: &str) -> bool {
        let outlives = self.0.as_ref().is_some_and(|manager| !manager.address.is_supervisor());
        outlives && listener != control::NAME && names::stored(listener).is_some()
    }

    /// This generation accepts, but its predecessor may still take its place again.
    pub(crate) fn on_probation(&self, generation: u64) {
        let status = format!("generation {generation} serves, on probation");
        self.tell(|| Message::new().main_pid().status(status));
    }

    /// This generation serves, for good. From now on the manager keeps these sockets, and no longer those of listeners that
    /// are gone.
    pub(crate) fn serves(&self, generation: u64, sockets: Vec<(Arc<str>, Arc<Acceptor>)>, gone: &[String]) {
        let Some(manager) = &self.0 else { return };
        for name in gone.iter().filter_map(|listener| names::stored(listener)) {
            manager.tell(Message::new().forget(&name), None);
        }
        // The next first generation asks on the control path whether anybody serves: it must not find a socket there that
        // somebody holds and nobody accepts from.
        for (listener, socket) in sockets.into_iter().filter(|(listener, _)| **listener != *control::NAME) {
            // A socket that it has already is not taken twice.
            match names::stored(&listener) {
                Some(name) => manager.tell(Message::new().store(&name), Some(socket)),
                None => tracing::warn!(
                    listener = &*listener,
                    "not given to the service manager: a name to keep a socket under has at most 244 printable ASCII \
                     characters and no colon"
                ),
            }
        }
        // Last: who is believed to serve has its sockets kept.
        let status = format!("generation {generation} serves");
        manager.tell(Message::new().ready().main_pid().status(status), None);
    }

    /// A restart begins.
    pub(crate) fn restarting(&self, generation: u64) {
        let status = format!("generation {generation} serves; its successor starts");
        self.tell(|| Message::new().reloading().status(status));
    }

    /// Another restart was asked for while one is under way. Whoever waits for the second is content with the first: the manager
    /// waits for the end of a restart that began after it had asked.
    pub(crate) fn restart_under_way(&self) {
        self.tell(|| Message::new().reloading());
    }

    /// A restart came to nothing, and this generation serves as before. What its successor may have said is revoked.
    pub(crate) fn restart_failed(&self, generation: u64, error: &RestartError) {
        let status = format!("generation {generation} serves; restart failed: {}", ErrorChain(error));
        self.tell(|| Message::new().ready().main_pid().status(status));
    }

    /// A successor serves: what has not been told yet is not true any more, and holds sockets open.
    pub(crate) fn succeeded(&self) {
        if let Some(manager) = &self.0 {
            // The first may be on its way.
            manager.waiting().truncate(1);
        }
    }

    /// The last generation drains, for so long at most.
    pub(crate) fn stopping(&self, generation: u64, limit: Duration) {
        let status = format!("generation {generation} drains, and is the last");
        let limit = limit.saturating_add(LAST_MOMENT);
        self.tell(|| Message::new().stopping().extend_timeout(limit).status(status));
    }

    fn tell(&self, message: impl FnOnce() -> Message) {
        if let Some(manager) = &self.0 {
            manager.tell(message(), None);
        }
    }
}

impl Manager {
    /// Sends a message now, or as soon as the manager takes it, after those that wait already.
    fn tell(self: &Arc<Self>, message: Message, socket: Option<Arc<Acceptor>>) {
        let mut waiting = self.waiting();
        if waiting.is_empty() {
            match self.send(&message, socket.as_deref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.heard(&Err(error));
                    tokio::spawn(self.clone().tell_waiting());
                }
                sent => return self.heard(&sent),
            }
        }
        // A manager that does not read at all must not cost us more and more; what it is told last is what counts.
        if waiting.len() >= MOST_WAITING {
            waiting.remove(1);
        }
        waiting.push_back((message, socket));
    }

    /// Gives a sign of life, unless more important things wait.
    pub(super) fn sign_of_life(&self) {
        if self.waiting().is_empty() {
            self.heard(&self.send(&Message::new().watchdog(), None));
        }
    }

    async fn tell_waiting(self: Arc<Self>) {
        loop {
            let front = self.waiting().front().cloned();
            let Some((message, socket)) = front else { return };
            let sent = self.send_when_possible(&message, socket.as_deref()).await;
            self.heard(&sent);
            let mut waiting = self.waiting();
            waiting.pop_front();
            // Under the lock: whoever finds it empty sends by itself.
            if waiting.is_empty() {
                return;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(Message, Option<Arc<Acceptor>>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends without waiting.
    fn send(&self, message: &Message, socket: Option<&Acceptor>) -> io::Result<()> {
        send(&self.connect()?, message, socket)
    }

    async fn send_when_possible(&self, message: &Message, socket: Option<&Acceptor>) -> io::Result<()> {
        let connected = tokio::net::UnixDatagram::from_std(self.connect()?)?;
        connected.async_io(Interest::WRITABLE, || send(&connected, message, socket)).await
    }

    /// A socket for each message: a manager that was restarted listens on another one.
    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(self.address.as_ref())?;
        Ok(socket)
    }

    /// Whether it worked, which is logged when it begins to fail.
    fn heard(&self, sent: &io::Result<()>) {
        let unheard = self.unheard.swap(sent.is_err(), Ordering::Relaxed);
        if let Err(error) = sent
            && !unheard
        {
            tracing::warn!(address = %self.address, %error, "the service manager cannot be told what happens");
        }
    }
}

fn send(connected: &impl AsFd, message: &Message, socket: Option<&Acceptor>) -> io::Result<()> {
    let descriptor = socket.map(AsFd::as_fd);
    sys::send(connected.as_fd(), message.as_bytes(), descriptor.as_slice()).map(drop)
}
