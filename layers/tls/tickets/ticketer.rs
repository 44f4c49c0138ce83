//! Seals and opens tickets.

use std::fmt;

use tokio_rustls::rustls::server::ProducesTickets;

use super::{
    TicketKeys,
    keys::{Key, TICKET_LIFETIME},
};
use crate::tls::crypto::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};

/// A ticket is the name of its key, a nonce, and the session sealed by AES-256-GCM. The trust that the session was made under is
/// authenticated with it: the same keys do not open it under another.
pub(in super::super) struct Ticketer {
    keys: TicketKeys,
    trust: [u8; 32],
}

const NAME: usize = 16;

impl Ticketer {
    pub(in super::super) const fn new(keys: TicketKeys, trust: [u8; 32]) -> Self {
        Self { keys, trust }
    }

    fn cipher(key: &Key) -> Option<LessSafeKey> {
        // Every nonce is random, and a key seals for 6 hours: far fewer than the 2^32 that are safe (NIST SP 800-38D, 8.3).
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key.secret).ok()?))
    }

    fn authenticated(&self, name: &[u8; NAME]) -> Aad<Vec<u8>> {
        Aad::from([&name[..], &self.trust[..]].concat())
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
        let key = self.keys.sealing()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = session.to_vec();
        let cipher = Self::cipher(&key)?;
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        cipher.seal_in_place_append_tag(nonce_used, self.authenticated(&key.name), &mut sealed).ok()?;
        Some([&key.name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.keys.opening(name)?;
        let mut session = sealed.to_vec();
        let cipher = Self::cipher(&key)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = cipher.open_in_place(nonce, self.authenticated(name), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").field("keys", &self.keys).finish_non_exhaustive()
    }
}
