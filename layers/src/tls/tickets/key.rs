//! One key.

use std::{fmt, time::Duration};

use zeroize::Zeroizing;

use crate::tls::{
    crypto::{
        aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey},
        rand::{SecureRandom, SystemRandom},
    },
    digest,
};

/// How long a key seals tickets before the next one does.
pub(super) const ROTATION: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a ticket is good for; a key opens tickets for so long after it has sealed its last. No
/// more than the 7 days of RFC 8446, 4.6.1.
pub(super) const TICKET_LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);

/// Its name says which key sealed a ticket, and tells nothing of the secret.
pub(super) type Name = [u8; 16];
pub(super) const NAME: usize = size_of::<Name>();
const SECRET: usize = 32;
/// A key as bytes: its name, its secret, its birth.
pub(super) const EXPORTED: usize = NAME + SECRET + 8;

/// The secret is overwritten when the last ticket that is sealed or opened with it is done; what
/// the cipher has made of it is the business of aws-lc-rs or ring.
pub(super) struct Key {
    pub(super) name: Name,
    secret: Zeroizing<[u8; SECRET]>,
    cipher: LessSafeKey,
    /// Seconds since 1970. `None` for a key of a file, which does not age.
    born: Option<u64>,
}

impl Key {
    /// `None` if the system has no randomness to give.
    pub(super) fn generate(born: u64) -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME], Zeroizing::new([0; SECRET]));
        let random = SystemRandom::new();
        random.fill(&mut name).ok()?;
        random.fill(&mut *secret).ok()?;
        Self::new(name, secret, Some(born))
    }

    /// A key of a file.
    pub(super) fn shared(secret: Zeroizing<[u8; SECRET]>) -> Option<Self> {
        // Every process must find the same name.
        let named = Zeroizing::new([b"portcullis ticket key", &secret[..]].concat());
        let name = *digest::sha256(&named).first_chunk()?;
        Self::new(name, secret, None)
    }

    fn new(name: Name, secret: Zeroizing<[u8; SECRET]>, born: Option<u64>) -> Option<Self> {
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*secret).ok()?);
        Some(Self { name, secret, cipher, born })
    }

    pub(super) fn export(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.name);
        bytes.extend_from_slice(&*self.secret);
        bytes.extend_from_slice(&self.born.unwrap_or_default().to_be_bytes());
    }

    pub(super) fn import(bytes: &[u8; EXPORTED]) -> Option<Self> {
        let (name, rest) = bytes.split_first_chunk()?;
        let (secret, born) = rest.split_first_chunk()?;
        Self::new(*name, Zeroizing::new(*secret), Some(u64::from_be_bytes(born.try_into().ok()?)))
    }

    /// Whether new tickets may be sealed with it.
    pub(super) fn seals(&self, now: u64) -> bool {
        self.age(now) < ROTATION
    }

    /// Whether a ticket that it has sealed may still be good.
    pub(super) fn opens(&self, now: u64) -> bool {
        self.age(now) < ROTATION + TICKET_LIFETIME
    }

    /// A birth in the future is of a clock that was set back since: such a key seals no more.
    fn age(&self, now: u64) -> Duration {
        self.born.map_or(Duration::ZERO, |born| now.checked_sub(born).map_or(ROTATION, Duration::from_secs))
    }

    /// The nonce, and both parts of the contents sealed by AES-256-GCM; `authenticated` must be the
    /// same when it is opened.
    ///
    /// Every nonce is random: 2^32 of them are safe with one key (NIST SP 800-38D, 8.3), in 6 hours
    /// or until the file gets a new line.
    pub(super) fn seal(&self, authenticated: &[u8], head: &[u8], body: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        // With room for the tag: a vector that grows leaves what is in the clear behind.
        let mut contents = Zeroizing::new(Vec::with_capacity(head.len() + body.len() + MAX_TAG_LEN));
        contents.extend_from_slice(head);
        contents.extend_from_slice(body);
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.cipher.seal_in_place_append_tag(nonce_used, Aad::from(authenticated), &mut *contents).ok()?;
        Some([&nonce[..], &contents].concat())
    }

    /// What [`seal`](Self::seal) was given, in one.
    pub(super) fn open(&self, authenticated: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut contents = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.cipher.open_in_place(nonce, Aad::from(authenticated), &mut contents).ok()?.len();
        contents.truncate(length);
        Some(contents)
    }
}

/// Nothing that is secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("born", &self.born).finish_non_exhaustive()
    }
}
