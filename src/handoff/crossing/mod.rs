//! Where a descriptor crosses from one process into another: the only unsafe code of this crate.
//!
//! There are three crossings: a message with descriptors (`rights`), the handoff socket that a new process is given across
//! `exec` (`exec`), and the new process taking that socket by its number (`inherit`).

#![allow(unsafe_code)]

mod exec;
mod inherit;
mod rights;

pub(super) use exec::spawn;
#[cfg(fuzzing)]
pub(super) use inherit::meant_for;
pub(super) use inherit::{Inherited, inherit};
pub(super) use rights::{MAX_DESCRIPTORS, Received, receive, send};

/// The variable that names the handoff socket to a new process: `descriptor:pid:nonce`.
///
/// It holds for the process with that pid alone: a grandchild that inherits the variable starts a line of its own.
const VARIABLE: &str = "PORTCULLIS_HANDOFF";
