//! What happens when. One task, woken by signals, datagrams, the ends of processes and the clock.
//!
//! Each time it looks first who is over, then hears what was told, and only then draws its
//! conclusions. The successor tells that it serves before its predecessor ends: whoever sees that
//! end has the word in the socket, and must not take a handoff for a crash.

use std::{future::poll_fn, process::ExitCode, task::Poll, time::Duration};

use rustix::process::{Signal, geteuid};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    SupervisorError,
    backoff::Backoff,
    notification::Notification,
    notify::{Datagram, NotifySocket},
    process::{Exit, Process, reap_any},
    process_tree,
    signals::{Order, Signals},
    start::start,
    store::Store,
};
use crate::{
    sys::{StartCommand, become_subreaper},
    systemd::{activated, into_descriptor},
};

/// How long a predecessor that still drains may take to accept again after its successor's death.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(1);
/// How long processes may take to end when they are told for the second time.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// Datagrams to hear before something else is looked at: more than the queue of a socket holds
/// (`net.unix.max_dgram_qlen`), so that all are heard that were there when somebody was seen dead.
const HEAR: usize = 4096;
/// Processes to know that have served before and still drain. Each was named by one of ours, which
/// may talk nonsense.
const MOST_EARLIER: usize = 64;

/// See the module.
pub(super) struct EventLoop {
    command: StartCommand,
    /// How long a successor may take to serve whose predecessor is dead.
    ready_timeout: Duration,
    signals: Signals,
    notify: NotifySocket,
    store: Store,
    main_process: MainProcess,
    /// Those that have served before, and still live.
    earlier: Vec<Process>,
    backoff: Backoff,
    /// Whether any process was ever ready.
    proved: bool,
    /// Nobody is started any more: this is the exit code when all are over.
    ending: Option<ExitCode>,
    /// The operator has said so.
    told: bool,
}

/// The process that serves, or the lack of one.
enum MainProcess {
    /// It runs, and is ready since then; `None`: it is not ready.
    Running { process: Process, ready: Option<Instant> },
    /// None serves; a successor may soon, or a process that still drains.
    Awaited { successors: Vec<Process>, until: Instant, then: Duration },
    /// None runs; one is started at that time.
    StartPending { start: Instant },
    /// None runs, and none is started any more.
    Gone,
}

impl EventLoop {
    pub(super) fn begin(command: StartCommand, ready_timeout: Duration) -> Result<Self, SupervisorError> {
        process_tree::check().map_err(|source| SupervisorError::system("read /proc", source))?;
        become_subreaper().map_err(|source| SupervisorError::system("become a child subreaper", source))?;
        let signals =
            Signals::install().map_err(|source| SupervisorError::system("handle signals", source))?;
        let notify = NotifySocket::bind()
            .map_err(|source| SupervisorError::system("listen at an abstract Unix address", source))?;
        let mut store = Store::new();
        // Of a manager above us. They are for whoever listens.
        for (name, descriptor) in activated().into_iter().filter_map(into_descriptor) {
            store.put(Some(name), vec![descriptor]);
        }
        let process = start(&command, &store, &notify.address())
            .map_err(|source| SupervisorError::Start { command: command.to_string(), source })?;
        tracing::info!(pid = process.pid(), %command, "supervising");
        Ok(Self {
            command,
            ready_timeout,
            signals,
            notify,
            store,
            main_process: MainProcess::Running { process, ready: None },
            earlier: Vec::new(),
            backoff: Backoff::default(),
            proved: false,
            ending: None,
            told: false,
        })
    }

    /// Until all is over.
    pub(super) async fn run(mut self) -> Result<ExitCode, SupervisorError> {
        loop {
            match self.event().await {
                Some(Order::End(signal)) if self.told => return Ok(self.end_now(signal).await),
                Some(Order::End(signal)) => self.end(signal),
                Some(Order::Forward(signal)) => self.forward(signal),
                Some(Order::Reap) | None => {}
            }
            self.take_stock();
            if let (Some(code), MainProcess::Gone, []) = (self.ending, &self.main_process, &*self.earlier) {
                return Ok(code);
            }
        }
    }

    /// Waits until something has happened; what, if it is a signal.
    async fn event(&mut self) -> Option<Order> {
        let alarm = self.main_process.alarm();
        let known = self.main_process.processes().chain(&self.earlier);
        let mut exits: Vec<_> = known.map(|process| Box::pin(process.exited())).collect();
        let exited = poll_fn(|cx| {
            let any = exits.iter_mut().any(|exited| exited.as_mut().poll(cx).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            biased;
            order = self.signals.next() => Some(order),
            () = exited => None,
            () = self.notify.readable() => None,
            () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() => None,
        }
    }

    /// In this order: see the module.
    fn take_stock(&mut self) {
        self.look();
        self.hear();
        self.judge();
    }

    /// All that are known.
    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.main_process.processes().chain(&self.earlier)
    }

    /// Sees who is over, and reaps whoever is our child.
    fn look(&mut self) {
        for process in self.main_process.processes_mut().chain(&mut self.earlier) {
            process.look();
        }
        while let Some((pid, exit)) = reap_any() {
            let mut known = self.main_process.processes_mut().chain(&mut self.earlier);
            match known.find(|process| process.pid() == pid) {
                Some(process) => process.set_exit(exit),
                None => tracing::debug!(pid, ?exit, "reaped an orphan"),
            }
        }
    }

    /// Hears what was told meanwhile.
    fn hear(&mut self) {
        for _ in 0..HEAR {
            let Some(datagram) = self.notify.receive() else { return };
            let pid = datagram.sender.pid.unsigned_abs();
            // One that is known may be dead already, and have no entry in /proc.
            let known = self.processes().any(|process| process.pid() == pid);
            let user = geteuid().as_raw();
            if datagram.sender.uid != user || !(known || process_tree::is_ours(pid)) {
                tracing::debug!(pid, uid = datagram.sender.uid, "ignored what a stranger has told");
            } else if !datagram.whole {
                tracing::warn!(
                    pid,
                    "ignored what was told: it was too long, or had more descriptors than this process may have open"
                );
            } else {
                self.obey(datagram);
            }
        }
    }

    fn obey(&mut self, datagram: Datagram) {
        let Datagram { text, descriptors, sender, .. } = datagram;
        let Notification { ready, stopping, main_pid, store, remove, name } = Notification::parse(&text);
        if let Some(pid) = main_pid {
            self.set_main_process(pid);
        }
        if let MainProcess::Running { process, ready: since } = &mut self.main_process
            && process.pid() == sender.pid.unsigned_abs()
        {
            if ready && since.is_none() {
                tracing::info!(pid = process.pid(), "ready");
                *since = Some(Instant::now());
                self.proved = true;
            }
            if stopping && self.ending.is_none() {
                tracing::info!(pid = process.pid(), "the process that serves has been told to end");
                self.close(ExitCode::SUCCESS);
            }
        }
        if remove && let Some(name) = &name {
            self.store.remove(name);
        }
        // At the end, a socket that is kept would have clients wait in vain.
        if store && self.ending.is_none() {
            self.store.put(name, descriptors);
        }
    }

    /// Somebody of ours says that this process serves from now on.
    fn set_main_process(&mut self, pid: u32) {
        if matches!(&self.main_process, MainProcess::Running { process, .. } if process.pid() == pid) {
            return;
        }
        let known = self.earlier.iter().position(|process| process.pid() == pid);
        let process = match known {
            Some(index) => self.earlier.remove(index),
            None => match Process::open(pid) {
                Ok(process) if process_tree::is_ours(pid) => process,
                _ => {
                    tracing::warn!(pid, "told that this process serves, which is none of ours");
                    return;
                }
            },
        };
        tracing::info!(pid, "another process serves");
        if self.told {
            process.signal(Signal::TERM);
        } else if self.ending.take().is_some() {
            tracing::info!("the server goes on");
        }
        self.proved = true;
        let main_process = MainProcess::Running { process, ready: Some(Instant::now()) };
        match std::mem::replace(&mut self.main_process, main_process) {
            MainProcess::Running { process: earlier, ready } => {
                // A process that was not ready has no successor. It may be a wrapper of the one that serves;
                // if not, it was started because nobody seemed to serve, and two lines must
                // not share the sockets.
                if ready.is_none() && !process_tree::descends(pid, earlier.pid()) {
                    earlier.signal(Signal::TERM);
                }
                self.earlier.push(earlier);
            }
            // They are reaped like any child.
            MainProcess::Awaited { .. } | MainProcess::StartPending { .. } | MainProcess::Gone => {}
        }
        if self.earlier.len() > MOST_EARLIER {
            self.earlier.remove(0);
        }
    }

    /// Draws the conclusions.
    fn judge(&mut self) {
        self.earlier.retain(|process| process.exit().is_none());
        match std::mem::replace(&mut self.main_process, MainProcess::Gone) {
            MainProcess::Running { process, ready } => match process.exit() {
                None => self.main_process = MainProcess::Running { process, ready },
                Some(exit) => self.succeed(process.pid(), exit, ready),
            },
            MainProcess::Awaited { mut successors, mut until, then } => {
                let now = Instant::now();
                let hoped = !successors.is_empty();
                successors.retain(|process| process.exit().is_none());
                if hoped && successors.is_empty() {
                    until = until.min(now + ROLLBACK_LIMIT);
                }
                self.main_process = if until <= now || (successors.is_empty() && self.earlier.is_empty()) {
                    for successor in successors {
                        tracing::error!(
                            pid = successor.pid(),
                            "a successor does not come to serve; it is killed"
                        );
                        successor.signal(Signal::KILL);
                    }
                    MainProcess::StartPending { start: now + then }
                } else {
                    MainProcess::Awaited { successors, until, then }
                };
            }
            other => self.main_process = other,
        }
        if matches!(self.main_process, MainProcess::StartPending { start } if start <= Instant::now()) {
            self.start();
        }
    }

    /// The process that served, or was to, is over.
    fn succeed(&mut self, pid: u32, exit: Exit, ready: Option<Instant>) {
        if self.ending.is_some() {
            tracing::info!(pid, ?exit, "the last process is over");
            self.ending = Some(exit.code());
            return;
        }
        if !self.proved {
            tracing::error!(pid, ?exit, "the server ended before it was ready, and so does the supervisor");
            self.close(exit.code());
            return;
        }
        let known = |pid: &u32| self.earlier.iter().any(|process| process.pid() == *pid);
        let successors = process_tree::orphaned_successors().into_iter().filter(|pid| !known(pid));
        let successors: Vec<_> = successors.filter_map(|pid| Process::open(pid).ok()).collect();
        // One that has handed over has a successor, if that could not say so yet; one that has given up in
        // its probation has a predecessor.
        if exit == Exit::Code(0) && ready.is_some() && successors.is_empty() && self.earlier.is_empty() {
            tracing::info!(pid, "the process that served has ended by itself, and so does the supervisor");
            self.close(ExitCode::SUCCESS);
            return;
        }
        let then = self.backoff.after(ready.map(|since| since.elapsed()));
        let now = Instant::now();
        self.main_process = if !successors.is_empty() {
            tracing::warn!(pid, ?exit, "the process that served is over; its successor may go on");
            MainProcess::Awaited { successors, until: now + self.ready_timeout, then }
        } else if !self.earlier.is_empty() {
            tracing::error!(pid, ?exit, "the process that served is over; its predecessor may go on");
            MainProcess::Awaited { successors, until: now + ROLLBACK_LIMIT, then }
        } else {
            tracing::error!(pid, ?exit, pause = ?then, "the process that served is over; another is started");
            MainProcess::StartPending { start: now + then }
        };
    }

    fn start(&mut self) {
        self.main_process = match start(&self.command, &self.store, &self.notify.address()) {
            Ok(process) => {
                tracing::info!(pid = process.pid(), command = %self.command, "started");
                MainProcess::Running { process, ready: None }
            }
            Err(error) => {
                let pause = self.backoff.after(None);
                tracing::error!(%error, command = %self.command, ?pause, "cannot start");
                MainProcess::StartPending { start: Instant::now() + pause }
            }
        };
    }

    fn forward(&self, signal: Signal) {
        match &self.main_process {
            // One that is not ready may not handle it yet, and would be ended by it.
            MainProcess::Running { process, ready: Some(_) } => process.signal(signal),
            _ => tracing::warn!(?signal, "not sent on: nobody is ready"),
        }
    }

    /// The operator's first word: all finish.
    fn end(&mut self, signal: Signal) {
        tracing::info!(?signal, "told to end");
        self.told = true;
        // That of the process that serves, once it is over.
        self.close(ExitCode::FAILURE);
        for process in self.processes() {
            process.signal(signal);
        }
    }

    /// Nobody is started any more. The sockets are let go, so that they are closed when the server
    /// closes them.
    fn close(&mut self, code: ExitCode) {
        self.ending = Some(code);
        self.store.clear();
        match std::mem::replace(&mut self.main_process, MainProcess::Gone) {
            running @ MainProcess::Running { .. } => self.main_process = running,
            MainProcess::Awaited { successors, .. } => self.earlier.extend(successors),
            MainProcess::StartPending { .. } | MainProcess::Gone => {}
        }
    }

    /// The operator's second word: they are told again, which ends them at once, and killed if it
    /// does not.
    async fn end_now(mut self, signal: Signal) -> ExitCode {
        tracing::warn!(?signal, "told again to end: at once");
        for process in self.processes() {
            process.signal(signal);
        }
        let all_over = async {
            while self.processes().any(|process| process.exit().is_none()) {
                self.event().await;
                self.take_stock();
            }
        };
        if timeout(LAST_MOMENT, all_over).await.is_err() {
            for process in self.processes() {
                process.signal(Signal::KILL);
            }
        }
        ExitCode::from(1)
    }
}

impl MainProcess {
    /// When to look again though nothing has happened.
    fn alarm(&self) -> Option<Instant> {
        match self {
            Self::Awaited { until, .. } => Some(*until),
            Self::StartPending { start } => Some(*start),
            Self::Running { .. } | Self::Gone => None,
        }
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        let (one, more) = match self {
            Self::Running { process, .. } => (Some(process), &[][..]),
            Self::Awaited { successors, .. } => (None, &**successors),
            Self::StartPending { .. } | Self::Gone => (None, &[][..]),
        };
        one.into_iter().chain(more)
    }

    fn processes_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        let (one, more) = match self {
            Self::Running { process, .. } => (Some(process), &mut [][..]),
            Self::Awaited { successors, .. } => (None, &mut **successors),
            Self::StartPending { .. } | Self::Gone => (None, &mut [][..]),
        };
        one.into_iter().chain(more)
    }
}
