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

use crate::{
    bind::{Acceptor, CONTROL, RegisteredListener},
    generation::Observer,
    handoff::RestartError,
    lifecycle::Phase,
    sys,
};

/// Notifies the service manager. Nothing waits for it, and nothing fails if it cannot be notified.
#[derive(Clone, Debug)]
pub(crate) struct Notifier(Arc<Manager>);

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
    /// Notifies the manager that `NOTIFY_SOCKET` names, if there is one.
    ///
    /// `spawned`: by a predecessor, whose variables this process has; those that name a process name the first of the line.
    /// Otherwise they must name this one: a child of some service inherits its variables, and must not speak for it.
    pub(crate) fn from_environment(spawned: bool) -> Option<Self> {
        let value = std::env::var_os("NOTIFY_SOCKET").filter(|value| !value.is_empty())?;
        let main = std::env::var_os("SYSTEMD_EXEC_PID");
        if !spawned && !names_this_process(main.as_deref()) {
            log!(
                warn,
                SYSTEMD_EXEC_PID = ?main,
                "NOTIFY_SOCKET is meant for another process and not used; what starts the server must `exec` it"
            );
            return None;
        }
        match Address::parse(&value) {
            Ok(address) => {
                let watchdog = watchdog::interval(|name| std::env::var_os(name), spawned);
                let (waiting, unheard) = (Mutex::default(), AtomicBool::new(false));
                Some(Self(Arc::new(Manager { address, watchdog, waiting, unheard })))
            }
            Err(reason) => {
                log!(
                    warn,
                    ?value,
                    reason,
                    "NOTIFY_SOCKET cannot be used: no service manager is told anything"
                );
                None
            }
        }
    }

    /// Gives the signs of life that the manager wants, while this generation serves. They come from the runtime: they
    /// stop when it does not turn.
    pub(crate) fn keep_alive(&self, phases: watch::Receiver<Phase>) {
        if let Some(every) = self.0.watchdog {
            tokio::spawn(watchdog::keep_alive(self.0.clone(), every, phases));
        }
    }

    fn tell(&self, message: Message) {
        self.0.tell(message, None);
    }
}

impl Observer for Notifier {
    /// A manager kills what is left of the service then.
    fn ends_with_last(&self) -> bool {
        true
    }

    /// A supervisor of ours exits with its server, so it keeps nothing.
    fn keeps(&self, listener: &str) -> bool {
        !self.0.address.is_supervisor() && listener != CONTROL && names::stored(listener).is_some()
    }

    fn on_probation(&self, generation: u64) {
        self.tell(Message::new().main_pid().status(format!("generation {generation} serves, on probation")));
    }

    /// From now on the manager keeps these sockets, and no longer those of the `forgotten` names.
    fn serves(&self, generation: u64, listeners: &[RegisteredListener], forgotten: &[String]) {
        for name in forgotten.iter().filter_map(|listener| names::stored(listener)) {
            self.tell(Message::new().forget(&name));
        }
        // The next first generation connects to the control path to find a server: it must not find
        // a socket there that is held open and from which no process accepts.
        for RegisteredListener { name, acceptor, .. } in listeners.iter().filter(|it| *it.name != *CONTROL) {
            // A socket that it has already is not taken twice.
            match names::stored(name) {
                Some(stored) => self.0.tell(Message::new().store(&stored), Some(acceptor.clone())),
                None => log!(
                    warn,
                    listener = &**name,
                    "not given to the service manager: a name to keep a socket under has at most 244 printable ASCII \
                     characters and no colon"
                ),
            }
        }
        // Last: the process that is believed to serve has its sockets kept.
        self.tell(Message::new().ready().main_pid().status(format!("generation {generation} serves")));
    }

    fn restarting(&self, generation: u64) {
        let status = format!("generation {generation} serves; its successor starts");
        self.tell(Message::new().reloading().status(status));
    }

    /// The manager waits for the end of a restart that began after it had asked: what waits for the
    /// second one is satisfied by the end of the first.
    fn restart_remembered(&self) {
        self.tell(Message::new().reloading());
    }

    /// What the successor may have sent is revoked.
    fn restart_failed(&self, generation: u64, error: &RestartError) {
        let status = format!("generation {generation} serves; restart failed: {}", ErrorChain(error));
        self.tell(Message::new().ready().main_pid().status(status));
    }

    /// What has not been sent yet is not true any more, and holds sockets open.
    fn succeeded(&self) {
        // The first may be on its way.
        self.0.waiting().truncate(1);
    }

    fn stopping(&self, generation: u64, limit: Duration) {
        let status = format!("generation {generation} drains, and is the last");
        let limit = limit.saturating_add(LAST_MOMENT);
        self.tell(Message::new().stopping().extend_timeout(limit).status(status));
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
            log!(warn, address = %self.address, %error, "the service manager cannot be told what happens");
        }
    }
}

fn send(connected: &impl AsFd, message: &Message, socket: Option<&Acceptor>) -> io::Result<()> {
    let descriptor = socket.map(AsFd::as_fd);
    sys::send(connected.as_fd(), message.as_bytes(), descriptor.as_slice()).map(drop)
}
