//! Stateless session tickets (RFC 5077; RFC 8446, 4.6.1): what a returning client resumes with.
//!
//! [`TicketKeys`] are what tickets are sealed with: they rotate, are bounded in life, and can be handed on to another process.
//! A [`Ticketer`] seals and opens tickets with them for one configuration: a ticket that was issued under another trust
//! (other CAs, revocation lists or identity rules) does not open.

mod keys;
mod ticketer;

pub(super) use keys::FileKeys;
pub use keys::{TicketKeys, TicketKeysError};
pub(super) use ticketer::Ticketer;
