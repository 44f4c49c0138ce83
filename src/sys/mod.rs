//! System calls that no safe library covers: the only unsafe code of this crate.
//!
//! Descriptors are passed from one process to another in four ways: in a message (`rights`), across
//! `exec` (`exec`, with the numbers of `numbers`), as the handoff socket (`inherit`), and as
//! sockets from a service manager (`activated`). `process` waits for processes and kills them,
//! `peer` identifies the peer of a socket, and `shared_memory` maps memory that several processes
//! share, in a file of `memfd`.
//!
//! System calls that std and tokio do not have are made through `rustix`, or through `socket2` if
//! they concern sockets: creating them, their options, their addresses. `libc` is used only in this
//! folder, for the rest: messages with descriptors and `SO_PEERCRED` (in rustix a pid is never 0,
//! but that of a process in another PID namespace is), `SO_PEERPIDFD`, execvpe(3), raise(3), and
//! descriptors that are known only by their number.

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
/// It is valid only for the process with that pid: a descendant that inherits it starts a first
/// generation.
const VARIABLE: &str = "PORTCULLIS_HANDOFF";
