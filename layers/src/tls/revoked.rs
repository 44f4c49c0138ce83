//! The end of a connection whose client is let in no more.

use super::{ClientIdentity, HandshakeFailure};
use crate::outcome::CloseReason;

/// A client that was let in before is let in no more: its connection has ended, as [`CloseReason::Revoked`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client {client} is let in no more ({failure})")]
pub struct Revoked {
    client: Box<ClientIdentity>,
    failure: HandshakeFailure,
    // By this it is found among the sources of an error.
    source: CloseReason,
}

impl Revoked {
    pub(super) fn new(client: ClientIdentity, failure: HandshakeFailure) -> Self {
        Self { client: client.into(), failure, source: CloseReason::Revoked }
    }

    /// Who it is.
    #[must_use]
    pub const fn client(&self) -> &ClientIdentity {
        &self.client
    }

    /// What a handshake of it would fail for.
    #[must_use]
    pub const fn failure(&self) -> HandshakeFailure {
        self.failure
    }
}
