//! SHA-256: of a public key, and of everything that decides who is let in.

use super::crypto::digest::{Context, SHA256, digest};

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    finished(digest(&SHA256, bytes).as_ref())
}

/// Takes in one named part after the other. Two that took in the same parts in the same order are equal, and no others.
pub(super) struct Digest(Context);

impl Digest {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn add(&mut self, name: &str, part: &[u8]) {
        for bytes in [name.as_bytes(), part] {
            self.0.update(&(bytes.len() as u64).to_be_bytes());
            self.0.update(bytes);
        }
    }

    pub(super) fn finish(self) -> [u8; 32] {
        finished(self.0.finish().as_ref())
    }
}

fn finished(bytes: &[u8]) -> [u8; 32] {
    // SHA-256 has as many.
    bytes.try_into().unwrap_or_default()
}

/// 32 bytes from 64 hexadecimal digits.
pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let [high, low] = pair else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16);
        // Two digits of four bits.
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(bytes)
}
