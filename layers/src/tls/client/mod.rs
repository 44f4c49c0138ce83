//! Who a client is, and whether it may come in.
//!
//! [`ClientAuth`] says whether a certificate is asked for, [`ClientRoots`] which CAs vouch for one and what they have
//! revoked, [`IdentityRules`] whom of those to let in. A [`ClientVerifier`] is all of that, read and ready: it decides in a
//! handshake, again before a session is resumed, and again when the rules have changed.

mod auth;
mod identity;
mod revocation;
mod roots;
mod rules;
mod verifier;

pub use auth::ClientAuth;
pub use revocation::{ExpiredCrl, UnknownRevocation};
pub use roots::ClientRoots;
pub use rules::{IdentityRule, IdentityRules, ParseIdentityRuleError};
pub(super) use verifier::ClientVerifier;
