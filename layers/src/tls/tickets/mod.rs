//! Stateless session tickets (RFC 5077; RFC 8446, 4.6.1): what a returning client resumes with.
//!
//! [`TicketKeys`] are what tickets are sealed with: they rotate, are bounded in life, and can be handed on to another
//! process. A [`Ticketer`] seals and opens tickets with them for one configuration: a ticket that was issued under another
//! trust (other CAs, revocation lists or identity rules) does not open, nor one that is past its life, nor one of a client
//! that is not let in any more: it is judged before its session is resumed. What else a session is bound to is rustls's
//! part: the version, the cipher suite and the server name. The application protocol is agreed on anew each time.

#[cfg(fuzzing)]
pub(super) mod fuzzing;
mod key;
mod keys;
mod session;
#[cfg(test)]
mod tests;
mod ticketer;

pub use keys::TicketKeys;
pub(super) use ticketer::Ticketer;
