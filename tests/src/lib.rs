//! What the tests share. They treat the example `echo` as its users do: they start it, connect to
//! it, send it signals, and look at what the kernel reports about its processes.
//!
//! Nothing here knows the library but for the names of the fault hooks: a [`Server`] is a series of
//! real processes, known by their sockets, signals, log, pid file and metrics. No process outlives
//! its test, whichever way the test ends (`descendants`).

#![allow(missing_docs, missing_debug_implementations, reason = "for the tests beside it alone")]
#![allow(clippy::new_without_default, clippy::len_without_is_empty, reason = "the tests do not need it")]

pub mod certificates;
mod client;
pub mod counter;
mod ctl;
mod descendants;
mod echo;
mod faults;
mod http;
mod load;
mod log;
mod manager;
mod metrics;
mod noise;
mod passing;
mod place;
mod process;
mod program;
mod running;
mod script;
mod server;
mod supervised;
mod target;
mod tls;
pub mod tool;

use std::time::{Duration, Instant};

pub use self::{
    certificates::Authority,
    client::{Client, Fault, reset},
    ctl::{Ctl, Told},
    descendants::VARIABLE as MARK,
    echo::{Echo, Kind},
    faults::Faults,
    http::{Answer, HttpConnection, get},
    load::{Load, Tally},
    log::Log,
    manager::{Manager, Notice, identity},
    metrics::Metrics,
    place::{Place, inode},
    process::{Exit, Process},
    program::program,
    running::Ended,
    script::{StartScript, copy_program},
    server::{Outcome, Server},
    supervised::{As, Supervised},
    target::{Target, connect},
    tls::{Met, meet},
};
pub use rustix::process::Signal;

/// How long anything may take that must happen. Far above what it does take, also on a busy machine: it only decides
/// how long a failing test runs.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for the future, and panics at the deadline.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Asks again and again until the answer is there, and panics at the deadline with the last refusal.
///
/// For what another process does and tells nobody: a counter that grows, a descriptor that is closed. Where there is an
/// event, wait for the event.
pub async fn until<T, E: std::fmt::Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    /// Between two questions, so that asking does not take the processor from the one who is asked.
    const PAUSE: Duration = Duration::from_millis(10);

    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(refusal) if begun.elapsed() > DEADLINE => {
                panic!("not within {DEADLINE:?}: {what}: {refusal:?}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
