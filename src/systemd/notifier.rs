//! What the service manager is told, and when: `sd_notify(3)`.
//!
//! All generations write to the same socket, and the manager must take what any of them says: at the time when a successor names
//! itself the main process, it is not that yet (`NotifyAccess=all`). A generation that only drains after a handoff
//! says nothing any more.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixDatagram,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{io::Interest, sync::watch, time::timeout};

use super::{address::Address, message::Message, names, names_this_process, watchdog};
use crate::{RestartError, chain::Chain, handoff, listener::Acceptor, phase::Phase};

/// Tells the service manager, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Notifier(Option<Arc<Manager>>);

/// The service manager.
#[derive(Debug)]
pub(super) struct Manager {
    address: Address,
    /// Time between two signs of life, if it wants any.
    watchdog: Option<Duration>,
    /// It could not be told the last time.
    unheard: AtomicBool,
}

/// The manager reads at once; one whose queue stays full for so long does not read at all. Nobody waits longer for it.
const LIMIT: Duration = Duration::from_secs(1);

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
                Self(Some(Arc::new(Manager { address, watchdog, unheard: AtomicBool::new(false) })))
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

    /// Whether a socket outlives this process in the manager's hands; then a Unix path stays with it.
    pub(crate) fn keeps(&self, listener: &str) -> bool {
        self.0.is_some() && names::stored(listener).is_some()
    }

    /// This generation accepts, but its predecessor may still take its place again.
    pub(crate) async fn on_probation(&self, generation: u64) {
        let status = format!("generation {generation} serves, on probation");
        self.tell(|| Message::new().main_pid().status(status)).await;
    }

    /// This generation serves, for good. From now on the manager keeps these sockets, and no longer those of listeners that
    /// are gone.
    pub(crate) async fn serves(
        &self,
        generation: u64,
        sockets: &[(Arc<str>, Arc<Acceptor>)],
        gone: &[String],
    ) {
        let status = format!("generation {generation} serves");
        let Some(manager) = &self.0 else { return };
        if !manager.send(&Message::new().ready().main_pid().status(status), None).await {
            return;
        }
        for name in gone.iter().filter_map(|listener| names::stored(listener)) {
            if !manager.send(&Message::new().forget(&name), None).await {
                return;
            }
        }
        for (listener, socket) in sockets {
            // One that it has already is not taken twice.
            let Some(name) = names::stored(listener) else {
                tracing::warn!(
                    listener = &**listener,
                    "not given to the service manager: a name to keep a socket under has at most 244 printable ASCII \
                     characters and no colon"
                );
                continue;
            };
            if !manager.send(&Message::new().store(&name), Some(socket.as_fd())).await {
                return;
            }
        }
    }

    /// A restart begins.
    pub(crate) async fn restarting(&self, generation: u64) {
        let status = format!("generation {generation} serves; its successor starts");
        self.tell(|| Message::new().reloading().status(status)).await;
    }

    /// Another restart was asked for while one is under way. Whoever waits for the second is content with the first: the manager
    /// waits for the end of a restart that began after it had asked.
    pub(crate) async fn restart_under_way(&self) {
        self.tell(|| Message::new().reloading()).await;
    }

    /// A restart came to nothing, and this generation serves as before. What its successor may have said is revoked.
    pub(crate) async fn restart_failed(&self, generation: u64, error: &RestartError) {
        let status = format!("generation {generation} serves; restart failed: {}", Chain(error));
        self.tell(|| Message::new().ready().main_pid().status(status)).await;
    }

    /// The last generation drains, for so long at most.
    pub(crate) async fn stopping(&self, generation: u64, limit: Duration) {
        let status = format!("generation {generation} drains, and is the last");
        let limit = limit.saturating_add(LAST_MOMENT);
        self.tell(|| Message::new().stopping().extend_timeout(limit).status(status)).await;
    }

    async fn tell(&self, message: impl FnOnce() -> Message) {
        if let Some(manager) = &self.0 {
            manager.send(&message(), None).await;
        }
    }
}

impl Manager {
    /// Sends one message, and says whether that was possible. If not, that is logged once: a service must not fail
    /// because nobody watches it.
    pub(super) async fn send(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> bool {
        let sent = timeout(LIMIT, self.try_send(message, descriptor)).await;
        let sent = sent.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read")));
        let unheard = self.unheard.swap(sent.is_err(), Ordering::Relaxed);
        if let Err(error) = &sent
            && !unheard
        {
            tracing::warn!(address = %self.address, %error, "the service manager cannot be told what happens");
        }
        sent.is_ok()
    }

    async fn try_send(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        // A socket for each message: a manager that was restarted listens on another one.
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(self.address.as_ref())?;
        let send = |socket: BorrowedFd<'_>| {
            handoff::send(socket, message.as_bytes(), descriptor.as_slice()).map(drop)
        };
        match send(socket.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent,
        }
        // Its queue is full.
        let socket = tokio::net::UnixDatagram::from_std(socket)?;
        socket.async_io(Interest::WRITABLE, || send(socket.as_fd())).await
    }
}
