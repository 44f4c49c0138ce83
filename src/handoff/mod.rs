//! One generation to the next: the conversation in which the listening sockets change hands.
//!
//! ```text
//! predecessor                               successor
//!   manifest, descriptors              ───▶   checks every descriptor
//!                                      ◀───   hello        protocol, pid, nonce
//!                                      ◀───   claim        used, bound, unwanted
//!                                      ◀───   ready        could serve, does not accept yet
//!   stops accepting; commit            ───▶   accepts
//!   stands by                          ◀───   serving      how long its probation takes
//!   closes its copies, drains          ◀───   settled
//! ```
//!
//! What each message says is told in `docs/handoff.md`, for other implementations too; `tests/model/` checks the order of the steps.
//!
//! A successor that we start finds the manifest in its socket: it is sent before there is a process, so that the sockets
//! outlive us from then on. Each side lives in a file of its own and knows nothing of accept loops: when to take which step is
//! decided by the generation's life ([`crate::generation`]). Up to the commit a failure changes nothing: the
//! predecessor never stopped accepting. From the commit until `settled` the predecessor keeps its copies of the sockets
//! and accepts again if the successor fails, or says that it is `sick`.

mod channel;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(test)]
mod golden;
mod inbox;
mod message;
mod payload;
mod predecessor;
mod process;
mod state;
mod successor;

#[cfg(feature = "control")]
pub(crate) use channel::{Channel, ChannelError};
pub use error::{HandoffError, Refusal, RestartError, RestartResult, Step};
#[cfg(feature = "control")]
pub(crate) use inbox::LONGEST_FRAME;
#[cfg(feature = "control")]
pub(crate) use message::Hello;
pub(crate) use message::{Claim, ListenerEntry};
pub(crate) use payload::{HandoffPayload, Inheritance};
pub(crate) use predecessor::{Arrival, Committed, LONGEST_PROBATION, Probation, Successor};
#[cfg(feature = "control")]
pub(crate) use process::Peer;
pub(crate) use state::SealedState;
pub(crate) use successor::{Succession, Verdict};
