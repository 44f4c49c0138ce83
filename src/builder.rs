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
    /// This process cannot take over from its predecessor.
    #[error("cannot take over from the predecessor")]
    Handoff(#[from] HandoffError),
    /// The control path cannot be bound, or the server that listens on it does not hand over.
    #[cfg(feature = "control")]
    #[error("cannot use the control path")]
    Takeover(#[from] TakeoverError),
    /// The listener on the control path cannot be created.
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

    /// The command that a restart starts. Default: [`StartCommand::itself`].
    pub fn start_command(mut self, command: StartCommand) -> Self {
        self.start_command = Some(command);
        self
    }

    /// The path of the pid file, which names the process that serves. Default: none.
    ///
    /// It is written when the generation starts to serve, atomically replaced by the next
    /// generation, and removed when the last one has drained. `start` checks that it can be
    /// written. Each server needs a pid file of its own.
    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.pid_file = Some(path.into());
        self
    }

    #[cfg(feature = "control")]
    /// The path of the Unix socket over which a [`Client`](crate::control::Client) restarts, drains
    /// and inspects this generation, and over which a process that was started separately takes
    /// over. Default: none.
    ///
    /// If a server listens on the path when this generation starts, this generation becomes its
    /// successor and takes over its sockets as in a restart. If none does, this is the first
    /// generation. The start fails if that server is restarting or draining. A process that was
    /// started by its predecessor does not connect to the path.
    ///
    /// The server accepts requests only from processes of its own user and of root; the path has
    /// the mode `0o600`. The listener is called `control`, and is handed over like the listener on
    /// any Unix socket ([`ListenAddr`](crate::ListenAddr)).
    pub fn control(mut self, path: impl Into<PathBuf>) -> Self {
        self.control = Some(path.into());
        self
    }

    /// The limit of each step of a handoff, including the initialisation of the successor. A
    /// successor that exceeds it is killed, and the restart fails. Default: 30 s. The step from the
    /// commit until the successor accepts, during which no process accepts, has a fixed limit of 5
    /// s.
    pub fn ready_timeout(mut self, limit: Duration) -> Self {
        self.ready_timeout = limit;
        self
    }

    /// The limit of a drain: connections that are still open after it are closed. Default: 30 s.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain_timeout = limit;
        self
    }

    /// The length of the probation of this generation after it has taken over. Default: 5 s.
    ///
    /// During the probation the predecessor keeps the sockets, and accepts again if this process
    /// exits, hangs or fails its [`health_check`](Self::health_check). The predecessor starts to
    /// drain when the probation has ended. A restart that is requested during the probation starts
    /// after it. Zero ends the probation as soon as this generation accepts. At most 24 hours.
    pub fn probation(mut self, time: Duration) -> Self {
        self.trial.probation = time.min(LONGEST_PROBATION);
        self
    }

    /// A check that must succeed before the probation ends. `limit` counts from the start of the
    /// probation, and is at most 24 hours. Default: none.
    ///
    /// It is called once, in a task of its own, when this generation has taken over and accepts.
    /// The probation ends no earlier than the check. If the check fails, panics or exceeds `limit`,
    /// this generation stops accepting, the predecessor accepts again, the connections of this
    /// generation are drained, and [`serve`](crate::GracefulListener::serve) returns
    /// [`HandoffError::Sick`]. If the predecessor has exited, this generation continues to serve.
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

    /// A restart is refused while this many older generations still drain. Default: 8.
    ///
    /// Each of them is a process with its own memory. Zero disables restarts.
    pub fn draining_limit(mut self, generations: usize) -> Self {
        self.draining_limit = generations;
        self
    }

    /// The maximum size in bytes of a state that this generation hands over or takes. Default: 16
    /// MiB.
    pub fn state_limit(mut self, bytes: usize) -> Self {
        self.state_limit = bytes;
        self
    }

    /// The limit for collecting all states that are handed over. Default: 5 s.
    pub fn state_timeout(mut self, limit: Duration) -> Self {
        self.state_timeout = limit;
        self
    }

    /// Whether signals are handled: `USR1` restarts, `TERM` and `INT` drain, and a second `TERM` or
    /// `INT` exits with 1. Default: true.
    ///
    /// If not, use [`Generation::restart`] and [`Generation::drain`].
    pub fn signals(mut self, obey: bool) -> Self {
        self.signals = obey;
        self
    }

    #[cfg(feature = "systemd")]
    /// Whether to use the service manager: to take the sockets that it passes, and to notify it.
    /// Without the environment variables of systemd this has no effect. Default: true.
    ///
    /// - The first generation takes **every** descriptor that is passed to this process
    ///   (`LISTEN_FDS`, `sd_listen_fds(3)`). [`listen`](Generation::listen) uses those that are
    ///   bound to its address, preferably one with its name (`FileDescriptorName=`). When all
    ///   listeners are served, the remaining descriptors are closed and logged. A program that
    ///   reads `LISTEN_FDS` itself must set this to `false`.
    /// - Notifications (`NOTIFY_SOCKET`, `sd_notify(3)`) report the process that serves, restarts
    ///   and their outcome, and the last drain. Every generation sends its own, so the unit needs
    ///   `NotifyAccess=all`.
    /// - The manager stores the listening sockets under `portcullis.` and the name of the listener,
    ///   if the unit allows that (`FileDescriptorStoreMax=`). They then survive a crash and
    ///   `systemctl restart`, and the path of a Unix socket is not removed at the end.
    /// - The generation that serves sends the watchdog notifications (`WatchdogSec=`,
    ///   `sd_watchdog_enabled(3)`) from the tokio runtime, so a blocked runtime is detected.
    /// - The last generation waits for older ones that still drain, because the manager kills them
    ///   when it exits.
    ///
    /// Ready-made units are in `examples/systemd/`.
    pub fn systemd(mut self, heed: bool) -> Self {
        self.systemd = heed;
        self
    }

    /// The prefix of the names of the metrics of this generation. Default: `portcullis`.
    pub fn metrics_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.metrics_prefix = prefix.into();
        self
    }

    /// Starts as the first generation, or as the successor of the process that started this one or
    /// that listens on the [`control`](Self::control) path.
    ///
    /// Call it early and within a tokio runtime. Until then, children of this process inherit the
    /// handoff socket, and signals have their default action. Metrics go to the recorder that is
    /// installed when the listeners are served.
    ///
    /// # Errors
    ///
    /// If a successor gets an error, it must exit; its predecessor, if it is alive, continues to
    /// serve.
    ///
    /// # Cancellation
    ///
    /// If the future of a successor is dropped, the handoff fails and the process must exit.
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
        let (pid_file, named) = match self.pid_file {
            Some(path) => {
                let first = predecessor.is_none();
                let (file, named) = blocking(move || prepare_pid_file(path, first)).await?;
                (Some(file), named)
            }
            None => (None, None),
        };
        if let Some(pid) = named {
            log!(warn, pid, "the pid file names another running process, and will be overwritten");
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
        if let Some(control) = control {
            let this = generation.clone();
            let listener = blocking(move || this.listen_for_control(&control, bound)).await?;
            tokio::spawn(control::serve(listener, generation.clone()));
        }
        if self.signals {
            signals::obey(&generation).map_err(StartError::Signals)?;
        }
        tokio::spawn(runner.run());
        Ok(generation)
    }
}

/// The pid file, and for the first generation the other process that it names.
fn prepare_pid_file(path: PathBuf, first: bool) -> Result<(PidFile, Option<u32>), PidFileError> {
    let file = PidFile::prepare(path)?;
    let named = if first { file.names_another() } else { None };
    Ok((file, named))
}

/// Runs what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down, and waits for nothing any more.
            Err(_) => std::future::pending().await,
        },
    }
}
