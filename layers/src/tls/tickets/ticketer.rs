//! Seals and opens tickets.

use std::{
    fmt,
    sync::{Arc, Once},
};

use tokio_rustls::rustls::{pki_types::UnixTime, server::ProducesTickets, time_provider::TimeProvider};

use super::{
    TicketKeys,
    key::{NAME, Name, TICKET_LIFETIME},
    session::client_chain,
};
use crate::tls::{
    client::ClientVerifier,
    crypto::aead::{MAX_TAG_LEN, NONCE_LEN},
    scope,
};

/// The longest ticket that is given: a record of TLS. A client sends it in its next ClientHello.
const LONGEST: usize = 16 * 1024;
/// What is around the session in it: the name of the key, the nonce, the moment, the tag.
const AROUND: usize = NAME + NONCE_LEN + 8 + MAX_TAG_LEN;

/// A ticket is the name of its key, and sealed by that the moment when it was issued and the
/// session. The trust that the session was made under is authenticated with it: the same keys do
/// not open it under another.
///
/// rustls looks neither at how old a ticket is nor at the client's certificate before it resumes by
/// it; so that is done here. A client that is refused here makes a full handshake, and is told
/// there what is wrong.
pub(in super::super) struct Ticketer {
    keys: TicketKeys,
    trust: [u8; 32],
    /// `None` where no certificate is asked for.
    verifier: Option<Arc<ClientVerifier>>,
    clock: Arc<dyn TimeProvider>,
}

impl Ticketer {
    pub(in super::super) const fn new(
        keys: TicketKeys,
        trust: [u8; 32],
        verifier: Option<Arc<ClientVerifier>>,
        clock: Arc<dyn TimeProvider>,
    ) -> Self {
        Self { keys, trust, verifier, clock }
    }

    fn authenticated(&self, name: &Name) -> Vec<u8> {
        [&name[..], &self.trust[..]].concat()
    }

    /// Whether it could be resumed: its client can be read, and whoever uses the configuration is
    /// the layer.
    fn could_be_resumed(&self, session: &[u8]) -> bool {
        static UNREADABLE: Once = Once::new();
        if self.verifier.is_none() {
            return true;
        }
        let readable = client_chain(session).is_some();
        if !readable {
            // Nobody is let in for it, but clients would make full handshakes from now on, and
            // nobody know why.
            UNREADABLE.call_once(|| {
                tracing::warn!("this version of rustls encodes sessions in a way that is not known here: clients with certificates cannot resume them");
            });
        }
        readable && scope::is_handshaking()
    }

    /// Whether its client is let in as of now.
    fn is_allowed(&self, session: &[u8], now: UnixTime) -> bool {
        let Some(verifier) = &self.verifier else { return true };
        let Some(chain) = client_chain(session) else { return false };
        scope::may_return(verifier.clone(), &chain, || verifier.verify_chain(&chain, now).is_ok())
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // Hours.
        u32::try_from(TICKET_LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        // rustls would cut off what does not fit, and break the handshake.
        if session.len() > LONGEST - AROUND || !self.could_be_resumed(session) {
            return None;
        }
        let now = self.clock.current_time()?.as_secs();
        let key = self.keys.sealing(now)?;
        let sealed = key.seal(&self.authenticated(&key.name), &now.to_be_bytes(), session)?;
        Some([&key.name[..], &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = self.clock.current_time()?;
        let (name, sealed) = ticket.split_first_chunk::<NAME>()?;
        let contents = self.keys.opening(name, now.as_secs())?.open(&self.authenticated(name), sealed)?;
        let (issued, session) = contents.split_first_chunk()?;
        // Processes that share keys may have clocks that differ; one that was set back does not
        // make a ticket good for ever.
        let is_young = now.as_secs().abs_diff(u64::from_be_bytes(*issued)) <= TICKET_LIFETIME.as_secs();
        (is_young && self.is_allowed(session, now)).then(|| session.to_vec())
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").field("keys", &self.keys).finish_non_exhaustive()
    }
}
