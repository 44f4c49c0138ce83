//! systemd, seen from a service: what the service manager gives to a line of processes, and what it is told.
//!
//! `activation` takes listening sockets that the manager opened or kept (`sd_listen_fds(3)`); `notifier` tells it what happens
//! (`sd_notify(3)`), gives it the sockets to keep (its descriptor store) and answers its watchdog. The formats are in
//! `address`, `message` and `names`. When what is said is decided by the generation's life ([`crate::generation`]).
//! Nothing here is done where the variables of the manager are absent.
//!
//! Two crates do parts of this and were not taken: `sd-notify` 0.5 knows no abstract address and blocks when the manager does
//! not read; `libsystemd` 0.7 blocks, too. Both hand activated sockets out as bare numbers and give up on all of them
//! when one is bad.

mod activation;
mod address;
mod message;
mod names;
mod notifier;
mod watchdog;

pub(crate) use activation::activated;
#[cfg(feature = "supervisor")]
pub(crate) use activation::into_descriptor;
#[cfg(feature = "supervisor")]
pub(crate) use address::SUPERVISOR_PREFIX;
pub(crate) use notifier::Notifier;

/// Whether a variable that names a process names this one. Absent, it names nobody else.
fn names_this_process(value: Option<&std::ffi::OsStr>) -> bool {
    value.is_none_or(|value| value.to_str().and_then(|pid| pid.parse().ok()) == Some(std::process::id()))
}
