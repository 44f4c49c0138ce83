//! System calls that no safe library covers: the only unsafe code of this crate.
//!
//! Descriptors cross from one process into another in four ways: in a message (`rights`), across
//! `exec` (`exec`, with the numbers of `numbers`), as the handoff socket (`inherit`), and as
//! sockets from a service manager (`activated`). `process` waits for a process and kills it, `peer`
//! says which process is at the other end of a socket, and `shared_memory` is memory that several
//! processes map, in a file of `memfd`.
//!
//! What std and tokio do not have, `rustix` does, and `socket2` where it concerns sockets: making
//! them, their options, their addresses. `libc` has the rest, and is used in this folder alone:
//! messages with descriptors and `SO_PEERCRED` (in rustix, a pid is never 0, which that of a
//! process in another PID namespace is), `SO_PEERPIDFD`, execvpe(3), raise(3), and descriptors of
//! which nothing but the number is known.

#![allow(unsafe_code)]
// The supervisor alone, or the control path alone, needs some of it.
#![cfg_attr(not(all(feature = "control", feature = "supervisor")), allow(dead_code, unused_imports))]

mod activated;
mod exec;
mod inherit;
mod memfd;
mod numbers;
mod peer;
mod process;
mod rights;
mod running_time;
mod shared_memory;
mod start_command;

pub(crate) use activated::take_activated;
pub(crate) use exec::spawn;
pub(crate) use exec::{Variable, spawn_with_numbered};
pub(crate) use inherit::is_successor;
#[cfg(fuzzing)]
pub(crate) use inherit::meant_for;
pub(crate) use inherit::{Inherited, inherit};
pub(crate) use memfd::{MemfdError, create_read_only, read_only_size};
pub(crate) use peer::{Credentials, peer_credentials, peer_pidfd};
#[cfg(feature = "__faults")]
pub(crate) use process::raise;
pub(crate) use process::{ProcessHandle, become_subreaper, reap_any};
pub(crate) use rights::MAX_DESCRIPTORS;
pub(crate) use rights::{Received, receive, send};
pub(crate) use running_time::{Deadline, within};
pub(crate) use shared_memory::{SharedMemory, create_shared_memory, reserve_shared_memory};
pub use start_command::{StartCommand, StartCommandError};

/// The variables of socket activation (`sd_listen_fds(3)`). They are meant for one process: no
/// successor gets them.
pub(crate) const ACTIVATION: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The variable that names the handoff socket to a new process: `descriptor:pid:nonce`.
///
/// It is valid for the process with that pid alone: a grandchild that inherits it starts a first
/// generation.
const VARIABLE: &str = "PORTCULLIS_HANDOFF";
