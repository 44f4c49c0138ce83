//! Seals and opens tickets.

use std::{fmt, sync::Arc};

use tokio_rustls::rustls::{
    pki_types::{CertificateDer, UnixTime},
    server::ProducesTickets,
    time_provider::TimeProvider,
};
use zeroize::Zeroizing;

use super::{
    TICKET_LIFETIME, TicketKeys,
    contents::Contents,
    key::{NAME, Name},
};
use crate::tls::client::{Judge, Shown};

/// The longest ticket that is given: a record of TLS. A client sends it in its next ClientHello.
const LONGEST: usize = 16 * 1024;
/// The form of what is sealed. A ticket of another version of this crate does not open where it has another one.
const FORM: u8 = 2;

/// A ticket is the name of its key, and [`Contents`] sealed by that. The trust that the session was made under is authenticated with
/// it: the same keys do not open it under another.
///
/// rustls looks neither at how old a ticket is nor at the client's certificate before it resumes by it; so that is done here. A
/// client that is refused here makes a full handshake, and is told there what is wrong.
pub(in super::super) struct Ticketer {
    keys: TicketKeys,
    trust: [u8; 32],
    judge: Option<Arc<Judge>>,
    clock: Arc<dyn TimeProvider>,
}

impl Ticketer {
    pub(in super::super) const fn new(
        keys: TicketKeys,
        trust: [u8; 32],
        judge: Option<Arc<Judge>>,
        clock: Arc<dyn TimeProvider>,
    ) -> Self {
        Self { keys, trust, judge, clock }
    }

    fn authenticated(&self, name: &Name) -> Vec<u8> {
        [&name[..], &self.trust[..], &[FORM]].concat()
    }

    fn contents(&self, now: UnixTime, session: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let encode = |chain: &[CertificateDer<'_>]| Contents::encode(now.as_secs(), chain, session);
        // Where nobody knows the client, because the configuration is used without the layer, none is let in by a ticket.
        if self.judge.is_some() { Shown::now(encode)? } else { encode(&[]) }
    }

    /// Whether the client is let in as of now.
    fn allows(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Some(judge) = &self.judge else { return true };
        // A client may come with many tickets of its own; its certificate is judged once.
        let judged = || !chain.is_empty() && Shown::now(|shown| shown == chain) == Some(true);
        judged() || judge.judge(chain, now).is_ok()
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
        let now = self.clock.current_time()?;
        let contents = self.contents(now, session)?;
        let key = self.keys.sealing(now.as_secs())?;
        let sealed = key.seal(&self.authenticated(&key.name), contents)?;
        let ticket = [&key.name[..], &sealed].concat();
        // rustls would cut off what does not fit, and break the handshake.
        (ticket.len() <= LONGEST).then_some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = self.clock.current_time()?;
        let (name, sealed) = ticket.split_first_chunk::<NAME>()?;
        let opened = self.keys.opening(name, now.as_secs())?.open(&self.authenticated(name), sealed)?;
        let Contents { issued, chain, session } = Contents::decode(&opened)?;
        // Processes that share keys may have clocks that differ; one that was set back does not make a ticket good for ever.
        let is_young = now.as_secs().abs_diff(issued) <= TICKET_LIFETIME.as_secs();
        (is_young && self.allows(&chain, now)).then(|| session.to_vec())
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").field("keys", &self.keys).finish_non_exhaustive()
    }
}
