//! Who a client is, and whether it may come in.
//!
//! [`ClientAuth`] says whether a certificate is asked for, [`ClientRoots`] which CAs vouch for one and what they have
//! revoked, [`IdentityRules`] whom of those to let in. A [`Judge`] is all of that, read and ready: it decides in a
//! handshake, again before a session is resumed, and again when the rules have changed.

mod auth;
mod identity;
mod judge;
mod revocation;
mod roots;
mod rules;

pub use auth::ClientAuth;
pub(super) use judge::Judge;
pub use revocation::{ExpiredCrl, UnknownRevocation};
pub use roots::ClientRoots;
pub use rules::{IdentityRule, IdentityRules, ParseIdentityRuleError};
