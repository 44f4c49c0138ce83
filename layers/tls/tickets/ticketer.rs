//! Seals and opens tickets.

use std::{fmt, sync::Arc};

use tokio_rustls::rustls::{server::ProducesTickets, time_provider::TimeProvider};
use zeroize::Zeroizing;

use super::{
    TICKET_LIFETIME, TicketKeys,
    key::{NAME, Name},
};

/// The longest ticket that is given: a record of TLS. A client sends it in its next ClientHello.
const LONGEST: usize = 16 * 1024;

/// A ticket is the name of its key, and sealed by that the moment when it was issued and the session. The trust that the session was
/// made under is authenticated with it: the same keys do not open it under another.
///
/// rustls does not look at how old a ticket is before it resumes by it; so that is done here.
pub(in super::super) struct Ticketer {
    keys: TicketKeys,
    trust: [u8; 32],
    clock: Arc<dyn TimeProvider>,
}

impl Ticketer {
    pub(in super::super) const fn new(
        keys: TicketKeys,
        trust: [u8; 32],
        clock: Arc<dyn TimeProvider>,
    ) -> Self {
        Self { keys, trust, clock }
    }

    fn now(&self) -> Option<u64> {
        self.clock.current_time().map(|now| now.as_secs())
    }

    fn authenticated(&self, name: &Name) -> Vec<u8> {
        [&name[..], &self.trust[..]].concat()
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
        let now = self.now()?;
        let key = self.keys.sealing(now)?;
        let contents = Zeroizing::new([&now.to_be_bytes()[..], session].concat());
        let sealed = key.seal(&self.authenticated(&key.name), contents)?;
        let ticket = [&key.name[..], &sealed].concat();
        // rustls would cut off what does not fit, and break the handshake.
        (ticket.len() <= LONGEST).then_some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = self.now()?;
        let (name, sealed) = ticket.split_first_chunk::<NAME>()?;
        let contents = self.keys.opening(name, now)?.open(&self.authenticated(name), sealed)?;
        let (issued, session) = contents.split_first_chunk()?;
        // Processes that share keys may have clocks that differ; one that was set back does not make a ticket good for ever.
        let age = now.abs_diff(u64::from_be_bytes(*issued));
        (age <= TICKET_LIFETIME.as_secs()).then(|| session.to_vec())
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").field("keys", &self.keys).finish_non_exhaustive()
    }
}
