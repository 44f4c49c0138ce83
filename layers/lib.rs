#![forbid(unsafe_code)]
//! placeholder
mod address;
pub mod allowlist;
mod close;
mod connection;
mod drain;
pub mod metrics;
pub mod tls;
pub mod track;

pub use address::{LocalAddress, Peer, UnixPeer};
pub use close::{CloseReason, Ending, RejectReason};
pub use connection::{Connection, Notice};
pub use drain::Drain;

/// An error of any layer or service, erased at the boundary.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
