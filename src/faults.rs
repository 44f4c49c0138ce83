//! Faults to order, for this crate's own tests.
//!
//! Compiled only with the feature `__faults`, which is no part of the public interface: only the package of the tests
//! enables it.
//!
//! The variable [`VARIABLE`] names a directory. Whoever passes a [`Point`] of a handoff adds the line `PID POINT` to the file
//! [`PASSED`] in it. A file that is named after the point is an order, and its text says which faults are wanted, one after
//! the other: whoever removes it carries it out, so that it happens once, to the generation that comes by first.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::Shutdown,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;
use socket2::SockRef;
use tokio::net::UnixStream;

use crate::sys::raise;

/// The directory of the orders.
pub const VARIABLE: &str = "PORTCULLIS_FAULTS";

/// The file in it that tells who has passed which point.
pub const PASSED: &str = "passed";

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident => $name:literal,)+) => {
        /// A place in the handoff, between two of its steps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point { $($(#[$doc])* $point,)+ }

        impl Point {
            /// All of them; each side's in the order in which it comes by.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// `SIDE:PLACE`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$point => $name),+ }
            }
        }
    };
}

points! {
    /// A restart was asked for; nothing has been done.
    Asked => "predecessor:asked",
    /// The manifest is about to be sent.
    Presenting => "predecessor:presenting",
    /// The manifest and the descriptors are in the socket.
    Presented => "predecessor:presented",
    /// The successor is about to be started.
    Spawning => "predecessor:spawning",
    /// The successor runs its program.
    Spawned => "predecessor:spawned",
    /// The successor has said hello.
    Hello => "predecessor:hello",
    /// The successor has said what it makes of the manifest.
    Claim => "predecessor:claim",
    /// The successor is ready.
    Ready => "predecessor:ready",
    /// Nobody accepts, and the successor is about to be told.
    Committing => "predecessor:committing",
    /// The successor has been told to serve.
    Committed => "predecessor:committed",
    /// The successor serves; this generation stands by.
    StandingBy => "predecessor:standing-by",
    /// The successor has settled.
    Over => "predecessor:over",
    /// The successor has been sent `abort`, and is not killed yet.
    CallingOff => "predecessor:calling-off",
    /// The successor is sick, or has failed after the commit; this generation does not yet accept.
    RollingBack => "predecessor:rolling-back",
    /// It accepts no more, and finishes.
    Draining => "predecessor:draining",

    /// The successor has its end of the socket, and has said nothing.
    Started => "successor:started",
    /// It has said hello, and read nothing.
    Greeted => "successor:greeted",
    /// It has the sockets, and has checked them.
    Inherited => "successor:inherited",
    /// The application initialises.
    Initialising => "successor:initialising",
    /// It could serve, and has not said so.
    Initialised => "successor:initialised",
    /// It has said what it makes of the manifest.
    Claimed => "successor:claimed",
    /// It has said that it is ready.
    Waiting => "successor:waiting",
    /// It was told to serve, and does not yet accept.
    Told => "successor:told",
    /// Its predecessor is gone, and it does not yet accept.
    Alone => "successor:alone",
    /// It accepts, and has not said so.
    Accepting => "successor:accepting",
    /// It has said that it serves.
    Probation => "successor:probation",
    /// It has passed its probation, and has not said so.
    Passed => "successor:passed",
    /// It has said that it has settled.
    Settled => "successor:settled",
    /// It finds itself sick, has stopped accepting and has not said so.
    Sick => "successor:sick",
    /// It has said that it is sick.
    SteppedBack => "successor:stepped-back",
}

/// What can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// `kill`: ends by SIGKILL.
    Kill,
    /// `stop`: stands still, by SIGSTOP.
    Stop,
    /// `term`: is told to end, by SIGTERM.
    Term,
    /// `exit`: exits with 3.
    Exit,
    /// `panic`: the task that passes the point panics.
    Panic,
    /// `sick`: fails its health check, when that comes.
    Sick,
    /// `delay=MS`: so many milliseconds go by.
    Delay(Duration),
    /// `garble` and `cut`: something happens to the next message.
    Tamper(Tampering),
}

/// What can happen to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tampering {
    /// It is garbage.
    Garble,
    /// The other side finds the end of the socket instead.
    Cut,
}

static SICK: AtomicBool = AtomicBool::new(false);
static NEXT_MESSAGE: Mutex<Option<Tampering>> = Mutex::new(None);

/// Passes a point.
pub(crate) async fn at(point: Point) {
    let Some(directory) = std::env::var_os(VARIABLE).map(PathBuf::from) else { return };
    let faults = ordered(&directory, point).unwrap_or_else(|error| {
        // A test that orders what cannot be had must not pass.
        eprintln!("{}: cannot look for faults: {error}", point.as_str());
        std::process::abort();
    });
    for fault in faults {
        match fault {
            // To this thread, so that it does not get any further.
            Fault::Kill => raise(Signal::KILL),
            Fault::Stop => raise(Signal::STOP),
            Fault::Term => raise(Signal::TERM),
            Fault::Exit => std::process::exit(3),
            Fault::Panic => panic!("a fault was ordered"),
            Fault::Sick => SICK.store(true, Ordering::Relaxed),
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Tamper(tampering) => *next_message() = Some(tampering),
        }
    }
}

/// Tells that this process passes a point, and takes what is ordered for it.
fn ordered(directory: &Path, point: Point) -> io::Result<Vec<Fault>> {
    let mut passed = OpenOptions::new().append(true).create(true).open(directory.join(PASSED))?;
    let order = directory.join(point.as_str());
    let text = match fs::read_to_string(&order) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // In one write, so that it stays in one piece, and before the fault.
    passed.write_all(format!("{} {}\n", std::process::id(), point.as_str()).as_bytes())?;
    let Some(text) = text else { return Ok(Vec::new()) };
    match fs::remove_file(&order) {
        Ok(()) => text.split_whitespace().map(str::parse).collect(),
        // Another one was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A verdict on this generation's health that comes before the application's own.
pub(crate) fn health() -> Result<(), String> {
    if SICK.load(Ordering::Relaxed) { Err("a fault was ordered".to_owned()) } else { Ok(()) }
}

/// Does to the body of a message, or to the socket, what was ordered for the next one.
pub(crate) fn tamper(body: &mut [u8], socket: &UnixStream) -> io::Result<()> {
    match next_message().take() {
        None => Ok(()),
        Some(Tampering::Garble) => {
            body.fill(b'!');
            Ok(())
        }
        // Its own end stays open: a process that has lost its socket hears of nobody's death by it.
        Some(Tampering::Cut) => SockRef::from(socket).shutdown(Shutdown::Write),
    }
}

fn next_message() -> std::sync::MutexGuard<'static, Option<Tampering>> {
    NEXT_MESSAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FromStr for Fault {
    type Err = io::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || io::Error::other(format!("no such fault: {text:?}"));
        Ok(match text {
            "kill" => Self::Kill,
            "stop" => Self::Stop,
            "term" => Self::Term,
            "exit" => Self::Exit,
            "panic" => Self::Panic,
            "sick" => Self::Sick,
            "garble" => Self::Tamper(Tampering::Garble),
            "cut" => Self::Tamper(Tampering::Cut),
            _ => {
                let time = text.strip_prefix("delay=").and_then(|time| time.parse().ok());
                Self::Delay(Duration::from_millis(time.ok_or_else(unknown)?))
            }
        })
    }
}
