//! Where a descriptor crosses from one process into another: the only unsafe code of this crate.
//!
//! There are four crossings: a message with descriptors (`rights`), the handoff socket that a new process is given across
//! `exec` (`exec`), the new process taking that socket by its number (`inherit`), and a process taking what the service
//! manager passes (`activated`).

#![allow(unsafe_code)]

mod activated;
mod exec;
mod inherit;
mod rights;

pub(crate) use activated::take_activated;
pub(super) use exec::spawn;
pub(super) use inherit::{Inherited, inherit};
pub(crate) use rights::send;
pub(super) use rights::{MAX_DESCRIPTORS, Received, receive};

/// The variable that names the handoff socket to a new process: `descriptor:pid:nonce`.
///
/// It holds for the process with that pid alone: a grandchild that inherits the variable starts a line of its own.
const VARIABLE: &str = "PORTCULLIS_HANDOFF";
