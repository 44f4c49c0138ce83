//! Where a descriptor crosses from one process into another: the only unsafe code of this crate.
//!
//! There are four crossings: a message with descriptors (`rights`), the descriptors that a new process is given across
//! `exec` (`exec`, under which numbers: `numbers`), the new process taking the handoff socket by its number (`inherit`), and a
//! process taking what the service manager passes (`activated`). `watch` waits for the end of a process that is held by a
//! descriptor.

#![allow(unsafe_code)]

mod activated;
mod exec;
mod inherit;
mod numbers;
mod rights;
mod watch;

pub(crate) use activated::take_activated;
pub(super) use exec::spawn;
pub(crate) use exec::{Variable, spawn_with_numbered};
pub(crate) use inherit::is_successor;
#[cfg(fuzzing)]
pub(super) use inherit::meant_for;
pub(super) use inherit::{Inherited, inherit};
pub(super) use rights::MAX_DESCRIPTORS;
pub(crate) use rights::{Received, Sender, receive, send};
pub(crate) use watch::watch;

/// The variable that names the handoff socket to a new process: `descriptor:pid:nonce`.
///
/// It holds for the process with that pid alone: a grandchild that inherits the variable starts a line of its own.
const VARIABLE: &str = "PORTCULLIS_HANDOFF";
