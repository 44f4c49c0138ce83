//! One generation to the next: the conversation in which the listening sockets change hands.
//!
//! ```text
//! predecessor                               successor
//!   starts it, with one end of a socketpair ─▶
//!                                      ◀───   hello        protocol, pid, nonce
//!   manifest, descriptors              ───▶   checks every descriptor
//!                                      ◀───   claim        used, bound, unwanted
//!                                      ◀───   ready        could serve, does not accept yet
//!   stops accepting; commit            ───▶   accepts
//!   closes its copies, drains          ◀───   settled
//! ```
//!
//! Each side lives in a file of its own and knows nothing of accept loops: when to take which step is decided by
//! the generation's life ([`crate::generation`]). Up to the commit a failure changes nothing: the
//! predecessor never stopped accepting. From the commit until `settled` the predecessor keeps its copies of the sockets
//! and accepts again if the successor fails.

mod channel;
mod crossing;
mod error;
mod message;
mod predecessor;
mod start_command;
mod successor;

pub(crate) use error::RestartResult;
pub use error::{HandoffError, Refusal, RestartError, Step};
pub(crate) use message::{Claim, Commit, ListenerEntry, Manifest};
pub(crate) use predecessor::Successor;
pub use start_command::{StartCommand, StartCommandError};
pub(crate) use successor::{Succession, Verdict};
