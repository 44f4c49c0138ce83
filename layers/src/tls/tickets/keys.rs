//! The keys that tickets are sealed with.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::SystemTime,
};

use zeroize::Zeroizing;

use super::key::{EXPORTED, Key, Name};
use crate::tls::TicketKeysError;
use crate::tls::digest;

/// Keys that are kept, at most: two are enough for the rotation, and processes that share a file
/// may be in the middle of theirs.
const MOST_KEYS: usize = 8;
/// What an export begins with.
const FORMAT: u8 = 1;

/// The keys that session tickets are sealed with.
///
/// A key encrypts tickets for 6 hours. Then it is replaced by a new key, decrypts its tickets for
/// another 6 hours, and is deleted. A ticket is valid for 6 hours, whichever key has encrypted it.
///
/// # What is guaranteed
///
/// - **A ticket is accepted** for 6 hours, with the same server name and the same CAs, CRLs and
///   identity rules. If client certificates are requested, a ticket from before a change of these
///   is rejected. So is one of a client whose certificate is no longer valid: it is verified again
///   at each resumption.
/// - **TLS 1.3:** every resumption has a key exchange of its own. An attacker who obtains a ticket
///   key later cannot decrypt recorded traffic.
/// - **TLS 1.2:** a resumed session uses the master secret of the first handshake, and the new
///   ticket of each resumption contains it too. An attacker who obtains a key can decrypt all
///   recorded traffic of the sessions for which it has encrypted a ticket, including earlier
///   traffic of the same sessions. To prevent this, require [TLS
///   1.3](super::super::TlsBuilder::min_version) or [disable
///   resumption](super::super::TlsBuilder::no_resumption).
/// - A client that resumes in time gets a new ticket. It can resume indefinitely without proving
///   again that it holds the private key of its certificate.
///
/// A ticket contains the client's certificate chain, and is 100 to 200 bytes longer. If it would
/// exceed 16 KiB, none is issued, and the client makes a full handshake each time.
///
/// # Sharing them
///
/// Clones share the keys. To let another process resume the sessions of this one,
/// [`export`](Self::export) them to it over a confidential channel. `Debug` does not print them.
/// Servers that share keys should serve the same names and be equally trusted, because a session
/// with one of them can be resumed with the other.
#[derive(Clone)]
pub struct TicketKeys {
    shared: Arc<RwLock<Keys>>,
}

struct Keys {
    /// The one that seals first.
    keys: Vec<Arc<Key>>,
    /// They come from there, and do not rotate by themselves.
    file: Option<PathBuf>,
}

/// Keys that were read and are not used yet.
pub(in super::super) struct FileKeys(Vec<Arc<Key>>);

impl TicketKeys {
    /// New keys, which nobody else has.
    ///
    /// # Errors
    ///
    /// If the system has no randomness to give.
    pub fn generate() -> Result<Self, TicketKeysError> {
        Self::generate_at(now())
    }

    pub(super) fn generate_at(now: u64) -> Result<Self, TicketKeysError> {
        let key = Key::generate(now).ok_or(TicketKeysError::Random)?;
        Ok(Self::of(vec![Arc::new(key)], None))
    }

    /// Reads keys from a file that several processes share: one line of 64 hexadecimal digits for
    /// each key, at most 8. The first key encrypts, all of them decrypt.
    ///
    /// They do not rotate automatically: add a new first line at least once a day, delete keys that
    /// have not been first for more than 6 hours, and reload
    /// ([`TlsReloader::reload`](super::super::TlsReloader::reload)). If processes reload at
    /// different times, add the new key as the second line, and move it to the top when all
    /// processes have read it. No other user may be able to read the file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, and names the line that is no key.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, TicketKeysError> {
        let path = path.into();
        Ok(Self::of(read_file(&path)?, Some(path)))
    }

    fn of(keys: Vec<Arc<Key>>, file: Option<PathBuf>) -> Self {
        Self { shared: Arc::new(RwLock::new(Keys { keys, file })) }
    }

    /// Exports the keys as bytes for another process. **They are secret**: overwrite them
    /// afterwards.
    #[must_use]
    pub fn export(&self) -> Vec<u8> {
        let shared = self.read();
        let mut bytes = Vec::with_capacity(1 + shared.keys.len() * EXPORTED);
        bytes.push(FORMAT);
        for key in &shared.keys {
            key.export(&mut bytes);
        }
        bytes
    }

    /// Replaces the keys with those that another process has exported; they keep their age. Keys
    /// from a file are not replaced.
    ///
    /// # Errors
    ///
    /// If the bytes are no keys; then nothing has changed.
    pub fn import(&self, bytes: &[u8]) -> Result<(), TicketKeysError> {
        self.import_at(bytes, now())
    }

    pub(super) fn import_at(&self, bytes: &[u8], now: u64) -> Result<(), TicketKeysError> {
        let Some((&FORMAT, rest)) = bytes.split_first() else { return Err(TicketKeysError::Form) };
        let (chunks, remainder) = rest.as_chunks::<EXPORTED>();
        if !remainder.is_empty() || chunks.len() > MOST_KEYS {
            return Err(TicketKeysError::Form);
        }
        let imported =
            chunks.iter().map(|bytes| Some(Arc::new(Key::import(bytes)?))).collect::<Option<Vec<_>>>();
        let mut imported = imported.ok_or(TicketKeysError::Form)?;
        imported.retain(|key| key.opens(now));
        let mut shared = self.write();
        // Who was idle has none; to go on with nothing would be to forget one's own.
        if shared.file.is_none() && !imported.is_empty() {
            shared.keys = imported;
        }
        Ok(())
    }

    /// Deletes the keys that no longer decrypt any ticket, by the system clock. This also happens
    /// whenever a key is created. An idle server creates none, so call this now and then, to remove
    /// old secrets from memory; `portcullis::Generation::manage_tls` does.
    pub fn retire(&self) {
        self.retire_at(now());
    }

    pub(super) fn retire_at(&self, now: u64) {
        self.write().retire(now);
    }

    /// The file that they come from.
    pub(in super::super) fn file(&self) -> Option<PathBuf> {
        self.read().file.clone()
    }

    /// What is in the file now; `None` where there is none.
    pub(in super::super) fn reread(&self) -> Result<Option<FileKeys>, TicketKeysError> {
        self.file().map(|path| read_file(&path).map(FileKeys)).transpose()
    }

    /// Takes what [`reread`](Self::reread) has read.
    pub(in super::super) fn take(&self, keys: FileKeys) {
        self.write().keys = keys.0;
    }

    /// The key that seals now; a new one if it is time for it.
    pub(super) fn sealing(&self, now: u64) -> Option<Arc<Key>> {
        if let Some(key) = self.read().sealing(now) {
            return Some(key);
        }
        let mut shared = self.write();
        // Another thread may have been faster.
        if let Some(key) = shared.sealing(now) {
            return Some(key);
        }
        let key = Arc::new(Key::generate(now)?);
        shared.keys.insert(0, key.clone());
        shared.retire(now);
        Some(key)
    }

    /// The key of this name, if it still opens.
    pub(super) fn opening(&self, name: &Name, now: u64) -> Option<Arc<Key>> {
        self.read().keys.iter().find(|key| key.name == *name && key.opens(now)).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn sealing(&self, now: u64) -> Option<Arc<Key>> {
        self.keys.first().filter(|key| key.seals(now)).cloned()
    }

    /// Forgets what opens nothing any more.
    fn retire(&mut self, now: u64) {
        self.keys.retain(|key| key.opens(now));
        self.keys.truncate(MOST_KEYS);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn read_file(path: &Path) -> Result<Vec<Arc<Key>>, TicketKeysError> {
    // It would be in the error, and that in a log.
    if path.to_string_lossy().lines().any(|line| digest::from_hex(line.trim()).is_some()) {
        return Err(TicketKeysError::KeyForPath);
    }
    let text = fs::read_to_string(path)
        .map_err(|source| TicketKeysError::Read { path: path.to_owned(), source })
        .map(Zeroizing::new)?;
    read_lines(&text, path)
}

pub(super) fn read_lines(text: &str, path: &Path) -> Result<Vec<Arc<Key>>, TicketKeysError> {
    let mut keys = Vec::<Arc<Key>>::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let key = digest::from_hex(line).map(Zeroizing::new).and_then(Key::shared);
        let key = key.ok_or_else(|| TicketKeysError::Line { path: path.to_owned(), line: number })?;
        if keys.iter().any(|other| other.name == key.name) {
            return Err(TicketKeysError::Twice { path: path.to_owned(), line: number });
        }
        keys.push(Arc::new(key));
    }
    match keys.len() {
        0 => Err(TicketKeysError::Empty { path: path.to_owned() }),
        1..=MOST_KEYS => Ok(keys),
        _ => Err(TicketKeysError::TooMany { path: path.to_owned(), most: MOST_KEYS }),
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.read();
        f.debug_struct("TicketKeys").field("keys", &shared.keys.len()).field("file", &shared.file).finish()
    }
}
