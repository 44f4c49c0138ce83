//! [`Supervisor`]: a small process that stays, for where the first process must not exit: PID 1 of a container.
//!
//! It is a little service manager to the generations below it, and speaks to them what systemd would: it receives
//! sd_notify(3) datagrams (`notify`, and what they say: `notification`), keeps the sockets that they store (`store`), and hands
//! these to the next one that it starts (`start`; sd_listen_fds(3)). `event_loop` decides what happens when; `process` holds
//! processes, `process_tree` tells which descend from this one, `signals` is what the operator says.

mod backoff;
mod error;
mod event_loop;
mod notification;
mod notify;
mod process;
mod process_tree;
mod signals;
mod start;
mod store;

use std::{process::ExitCode, time::Duration};

pub use error::SupervisorError;

use crate::sys::StartCommand;
use event_loop::EventLoop;

/// How long a successor may take whose predecessor has died, unless set otherwise.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Keeps a line of generations alive, and its sockets over their crashes. For PID 1 of a container.
///
/// A restart replaces a process, and its predecessor exits in the end: PID 1 of a container must not, or the container ends with
/// it. So PID 1 is a supervisor, which starts the server as its child, and the generations follow each other
/// below. It needs no configuration of its own, and works as well without a container: it then is the child
/// subreaper (prctl(2)) of what it starts.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use portcullis::{StartCommand, Supervisor};
///
/// fn main() -> ExitCode {
///     if std::env::args_os().any(|argument| argument == "--supervise") {
///         // Before anything else: no thread, no runtime, no descriptor.
///         let server = StartCommand::itself().without("--supervise");
///         return Supervisor::new(server).run().unwrap_or_else(|error| {
///             eprintln!("cannot start the server: {error}");
///             ExitCode::FAILURE
///         });
///     }
///     // … the server …
///     ExitCode::SUCCESS
/// }
/// ```
///
/// # Which process serves
///
/// The one it has started, until another is named by `MAINPID=` of sd_notify(3): a [`Generation`](crate::Generation)
/// does that when it takes over. The supervisor listens at an abstract Unix address, which it names to its children in
/// `NOTIFY_SOCKET`, and believes processes that descend from it and have its own user id (the kernel vouches for both;
/// a generation that changes its user is not heard). All other datagrams are ignored. It understands `READY=1`,
/// `MAINPID=`, `STOPPING=1` from the process that serves, `FDSTORE=1` with `FDNAME=`, and `FDSTOREREMOVE=1`.
/// At most 1024 descriptors are kept, and half as many as this process may have open.
///
/// # Signals
///
/// | signal | effect |
/// | --- | --- |
/// | `TERM`, `INT` | every generation finishes, the supervisor with the last of them; the kept sockets are closed first, so that nobody waits in vain |
/// | the second of these | every generation ends at once, after a second at the latest; exit code 1 |
/// | `USR1`, `USR2`, `HUP`, `QUIT`, `WINCH` | sent on to the process that serves, if it is ready; `USR1` restarts it |
///
/// Children are in a process group of their own: an interrupt from the terminal is heard by the supervisor alone, and sent on
/// once.
///
/// # Crashes
///
/// When the process that serves is killed or exits with another code than 0, a new one is started at once and
/// is handed the kept sockets. They were open all the time: whoever connected meanwhile is served. Only the connections
/// that the dead process had accepted are lost.
///
/// - One that ends before it was ready, or less than a second after, is started again after 100 ms, then 200 ms, and
///   so on up to 10 s; the supervisor never gives up while it holds sockets that clients may wait at.
/// - The very first one is another matter: if it ends before it was ever ready, so does the supervisor, with the same exit
///   code. The configuration is wrong, and whoever started the container should learn it.
/// - If it dies during a restart, its successor goes on alone: the supervisor waits for it, up to the
///   [`ready_timeout`](Self::ready_timeout). If it dies while its predecessor still drains, that one may take its place
///   again (it does so in a probation): it has a second.
/// - A process that serves and exits with 0 by itself, or that has said `STOPPING=1`, was told to end by somebody, or was taken
///   over from elsewhere, by a new container for example: the supervisor does not start another, and ends, too.
///
/// # Other processes
///
/// Every child and every orphan is reaped, also those that no generation knows. Nothing else in this process may
/// wait for children. Daemons that the server has started are not waited for at the end; in a container the kernel kills
/// them with PID 1.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `run`"]
pub struct Supervisor {
    command: StartCommand,
    ready_timeout: Duration,
}

impl Supervisor {
    /// One that starts this.
    pub const fn new(command: StartCommand) -> Self {
        Self { command, ready_timeout: READY_TIMEOUT }
    }

    /// How long a successor may take to serve whose predecessor has died during the restart; it is killed then, and another one is
    /// started. Default: 30 s.
    ///
    /// One that the supervisor has started itself may take its time: there is nobody who could serve instead.
    pub const fn ready_timeout(mut self, limit: Duration) -> Self {
        self.ready_timeout = limit;
        self
    }

    /// Starts the server, and stays until it is over. Blocks, in a tokio runtime of its own.
    ///
    /// Call it before other threads are started: a thread that opens and closes descriptors while a generation is
    /// started could disturb that.
    ///
    /// The exit code is that of the process that served last; 128 and the number of the signal if it was killed by one (0 if
    /// that cannot be known, because a predecessor that still drained was its parent). 1 after a second `TERM`, and
    /// where nobody served when the first one came.
    ///
    /// # Errors
    ///
    /// When the supervisor cannot do its work here (it needs signals, `/proc`, an abstract Unix address), and when the
    /// server cannot be executed the first time. Later nothing ends it but signals and the end of the server.
    ///
    /// # Panics
    ///
    /// Within a tokio runtime.
    pub fn run(self) -> Result<ExitCode, SupervisorError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| SupervisorError::system("start a runtime", source))?;
        runtime.block_on(async { EventLoop::begin(self.command, self.ready_timeout)?.run().await })
    }
}
