//! [`GenerationBuilder`]: the settings of a generation, and how it starts.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use portcullis_layers::BoxError;

#[cfg(feature = "control")]
use crate::control::{self, Found, TakeoverError};
#[cfg(feature = "control")]
use crate::listen::ListenError;
#[cfg(feature = "systemd")]
use crate::systemd::{self, Notifier};
use crate::{
    bind::ActivatedSocket,
    generation::{
        Callback, DRAIN_TIMEOUT, DRAINING_LIMIT, Generation, HealthCheck, Observer, PROBATION, Parts,
        READY_TIMEOUT, STATE_LIMIT, STATE_TIMEOUT, Settings, Trial,
    },
    handoff::{HandoffError, LONGEST_PROBATION, Succession},
    pid_file::{PidFile, PidFileError},
    signals,
    sys::StartCommand,
};

/// The settings of a [`Generation`], made by [`Generation::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `start`"]
pub struct GenerationBuilder {
    start_command: Option<StartCommand>,
    pid_file: Option<PathBuf>,
    #[cfg(feature = "control")]
    control: Option<PathBuf>,
    ready_timeout: Duration,
    drain_timeout: Duration,
    trial: Trial,
    draining_limit: usize,
    state_limit: usize,
    state_timeout: Duration,
    signals: bool,
    #[cfg(feature = "systemd")]
    systemd: bool,
    metrics_prefix: String,
}

/// Why a generation could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The pid file cannot be written.
    #[error("cannot use the pid file")]
    PidFile(#[from] PidFileError),
    /// The predecessor and this process did not come together.
    #[error("cannot take over from the predecessor")]
    Handoff(#[from] HandoffError),
    /// The control path is not available, and no server there hands over.
    #[cfg(feature = "control")]
    #[error("cannot use the control path")]
    Takeover(#[from] TakeoverError),
    /// The control path cannot be listened on.
    #[cfg(feature = "control")]
    #[error("cannot serve the control path")]
    Control(#[from] ListenError),
    /// The signal handlers cannot be installed.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
}

impl Generation {
    /// The settings to start with.
    pub fn builder() -> GenerationBuilder {
        GenerationBuilder::new()
    }
}

impl GenerationBuilder {
    fn new() -> Self {
        Self {
            start_command: None,
            pid_file: None,
            #[cfg(feature = "control")]
            control: None,
            ready_timeout: READY_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
            trial: Trial { probation: PROBATION, health_check: None },
            draining_limit: DRAINING_LIMIT,
            state_limit: STATE_LIMIT,
            state_timeout: STATE_TIMEOUT,
            signals: true,
            #[cfg(feature = "systemd")]
            systemd: true,
            metrics_prefix: portcullis_layers::metrics::DEFAULT_PREFIX.to_owned(),
        }
    }

    /// What a restart starts. Default: [`StartCommand::itself`].
    pub fn start_command(mut self, command: StartCommand) -> Self {
        self.start_command = Some(command);
        self
    }

    /// A file that names the process that serves. Default: none.
    ///
    /// It is written when the generation begins to serve, replaced at once by the next one, and removed at the end of the
    /// last. That it can be written is checked at the start.
    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.pid_file = Some(path.into());
        self
    }

    #[cfg(feature = "control")]
    /// The control path: a Unix path over which an operator's [`Client`](crate::control::Client) restarts, drains and looks
    /// at this generation, and a successor takes over that somebody else starts. Default: none.
    ///
    /// If a server answers there when this generation starts, it is that server's successor, and takes its
    /// sockets over as in a restart. If nobody does, it is the first of a line. A server that restarts or drains just then
    /// refuses, and the start fails. A process that was started by its predecessor does not look.
    ///
    /// Only processes of this user and of root are heard; the path has the mode `0o600`. It is a listener called
    /// `control`, owned and handed on as that of any Unix socket ([`ListenAddr`](crate::ListenAddr)).
    pub fn control(mut self, path: impl Into<PathBuf>) -> Self {
        self.control = Some(path.into());
        self
    }

    /// How long each step of a handoff may take, above all the one in which the successor initialises. A successor
    /// that takes longer is killed, and the restart has failed. Default: 30 s. From the commit until the successor accepts,
    /// nobody does: that step has 5 s at most.
    pub fn ready_timeout(mut self, limit: Duration) -> Self {
        self.ready_timeout = limit;
        self
    }

    /// How long connections may take to end by themselves in a drain; those that remain are then cut off.
    /// Default: 30 s.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain_timeout = limit;
        self
    }

    /// How long this generation is on probation after it has taken over. Default: 5 s.
    ///
    /// During that time the predecessor stands by with the sockets, and accepts again if this process dies, hangs or
    /// fails its [`health_check`](Self::health_check). It begins to drain when the probation is over. A restart that is
    /// requested of a generation on probation is remembered, and runs when it has settled. Zero: it has settled as soon as
    /// it accepts. At most 24 hours.
    pub fn probation(mut self, time: Duration) -> Self {
        self.trial.probation = time.min(LONGEST_PROBATION);
        self
    }

    /// What must succeed before the probation is over, within `limit` from its beginning (24 hours at most). Default: nothing.
    ///
    /// It is called once, in a task of its own, when this generation has taken over from a predecessor and accepts; the probation
    /// lasts at least until it is done. If it fails, panics or takes too long, this generation stops accepting, the
    /// predecessor accepts again, the connections that this one has are drained, and
    /// [`serve`](crate::GracefulListener::serve) returns [`HandoffError::Sick`]. Where there is no predecessor any
    /// more, it serves nevertheless.
    ///
    /// ```
    /// use std::{io, time::Duration};
    /// use portcullis::Generation;
    ///
    /// async fn database_answers() -> io::Result<()> {
    ///     Ok(())
    /// }
    ///
    /// let builder = Generation::builder().health_check(Duration::from_secs(20), database_answers);
    /// ```
    pub fn health_check<F, R, E>(mut self, limit: Duration, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let (limit, check) = (limit.min(LONGEST_PROBATION), Callback::new(check));
        self.trial.health_check = Some(HealthCheck { limit, check });
        self
    }

    /// How many older generations may still drain when a restart is asked for; with more it is refused. Default: 8.
    ///
    /// Each is a process with all its memory.
    /// Zero: there is no restart.
    pub fn draining_limit(mut self, generations: usize) -> Self {
        self.draining_limit = generations;
        self
    }

    /// How large a state may be that is handed on to the successor, or was by the predecessor, in bytes. Default: 16 MiB.
    pub fn state_limit(mut self, bytes: usize) -> Self {
        self.state_limit = bytes;
        self
    }

    /// How long the states that are handed on may take to be had. Default: 5 s.
    pub fn state_timeout(mut self, limit: Duration) -> Self {
        self.state_timeout = limit;
        self
    }

    /// Whether `USR1` restarts, `TERM` and `INT` drain, and a second one of these exits with 1. Default: true.
    ///
    /// Without them, use [`Generation::restart`] and [`Generation::drain`].
    pub fn signals(mut self, obey: bool) -> Self {
        self.signals = obey;
        self
    }

    #[cfg(feature = "systemd")]
    /// Whether to take the sockets that the service manager passes, and to tell it what happens; of use under systemd, and
    /// nothing where its variables are absent. Default: true.
    ///
    /// - The first generation takes **every** descriptor that is passed to this process (`LISTEN_FDS`, `sd_listen_fds(3)`).
    ///   [`listen`](Generation::listen) takes those that are bound to its address, one with its name first
    ///   (`FileDescriptorName=`); what no listener asked for is closed when all are served, and the log says so. A program that
    ///   reads `LISTEN_FDS` itself must say `false` here.
    /// - The manager is told (`NOTIFY_SOCKET`, `sd_notify(3)`) which process serves, of restarts and their outcome, and of the
    ///   last drain. Every generation speaks for itself: the unit needs `NotifyAccess=all`.
    /// - It is given the listening sockets to keep, under `portcullis.` and the listener's name, so that they outlive a crash
    ///   and `systemctl restart` if it is willing to (`FileDescriptorStoreMax=`). The path of a Unix socket is then
    ///   left in place at the end.
    /// - Its watchdog is answered (`WatchdogSec=`, `sd_watchdog_enabled(3)`) by the generation that serves, from the tokio
    ///   runtime: a runtime that does not turn is found out.
    /// - The last generation waits for older ones that still drain, for the manager kills them when it has left.
    ///
    /// Ready-made units are in `examples/systemd/`.
    pub fn systemd(mut self, heed: bool) -> Self {
        self.systemd = heed;
        self
    }

    /// What the names of the metrics of this generation begin with. Default: `portcullis`.
    pub fn metrics_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.metrics_prefix = prefix.into();
        self
    }

    /// Starts: as the first of a line, or as the successor of the process that started this one or that serves the
    /// [`control`](Self::control) path.
    ///
    /// Call it early and within a tokio runtime: until then a descriptor that the predecessor handed down would be inherited
    /// by children of this process, and signals have their usual effect. Metrics go to the recorder that is
    /// installed when the listeners are served.
    ///
    /// # Errors
    ///
    /// An error of a successor means that it must exit; its predecessor, if it lives, serves on.
    ///
    /// # Cancellation
    ///
    /// A successor whose start was dropped is not a successor any more, and must exit.
    pub async fn start(self) -> Result<Generation, StartError> {
        #[cfg(feature = "control")]
        let control =
            self.control.map(|path| control::bind_to(&path).map_err(TakeoverError::from)).transpose()?;
        #[cfg_attr(not(feature = "control"), expect(unused_mut))]
        let mut predecessor = Succession::begin(self.ready_timeout).await?;
        #[cfg_attr(not(feature = "systemd"), expect(unused_mut))]
        let (mut observer, mut activated) =
            (Arc::new(()) as Arc<dyn Observer>, Vec::<ActivatedSocket>::new());
        #[cfg(feature = "systemd")]
        let notifier = self.systemd.then(|| Notifier::from_environment(predecessor.is_some())).flatten();
        #[cfg(feature = "systemd")]
        if self.systemd {
            activated = systemd::activated();
            if let Some(notifier) = &notifier {
                observer = Arc::new(notifier.clone());
            }
        }
        #[cfg(feature = "control")]
        let mut bound = None;
        #[cfg(feature = "control")]
        if let (None, Some(control)) = (&predecessor, &control) {
            match control::find(control, self.ready_timeout).await? {
                Found::Server(succession, inheritance) => predecessor = Some((succession, *inheritance)),
                Found::Nobody(socket) => bound = Some(socket),
            }
        }
        let pid_file = self.pid_file.map(PidFile::prepare).transpose()?;
        let named = pid_file.as_ref().filter(|_| predecessor.is_none()).and_then(PidFile::names_another);
        if let Some(pid) = named {
            tracing::warn!(
                pid,
                "the pid file names a process that lives, and will name this one: two servers need two files"
            );
        }
        let (generation, runner) = Generation::new(Parts {
            predecessor,
            activated,
            pid_file,
            observer,
            #[cfg(feature = "tls")]
            obeys_signals: self.signals,
            metrics_prefix: self.metrics_prefix,
            state_limit: self.state_limit,
            state_timeout: self.state_timeout,
            settings: Settings {
                start_command: self.start_command.unwrap_or_else(StartCommand::itself),
                ready_timeout: self.ready_timeout,
                drain_timeout: self.drain_timeout,
                trial: self.trial,
                draining_limit: self.draining_limit,
            },
        });
        #[cfg(feature = "systemd")]
        if let Some(notifier) = notifier {
            notifier.keep_alive(generation.phases());
        }
        #[cfg(feature = "control")]
        if let Some(control) = &control {
            let listener = generation.listen_for_control(control, bound)?;
            tokio::spawn(control::serve(listener, generation.clone()));
        }
        if self.signals {
            signals::obey(&generation).map_err(StartError::Signals)?;
        }
        tokio::spawn(runner.run());
        Ok(generation)
    }
}
