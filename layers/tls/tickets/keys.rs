//! The keys that tickets are sealed with.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use super::super::{
    crypto::rand::{SecureRandom, SystemRandom},
    digest,
};

/// How long a key seals tickets before the next one does.
pub(super) const ROTATION: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a ticket is good for; a key opens tickets for so long after it has sealed its last.
pub(super) const TICKET_LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);
/// Keys that are kept, at most: two are enough for the rotation, and processes that share a file may be in the middle of theirs.
const MOST_KEYS: usize = 8;
/// Of an exported key: its name, its secret, its birth.
const EXPORTED: usize = 16 + 32 + 8;
/// What an export begins with.
const FORMAT: u8 = 1;

/// The keys that session tickets are sealed with.
///
/// A key seals tickets for 6 hours; then a new one is made, and the old one opens what it has sealed for 6 hours more. So a ticket is
/// good for 6 hours, and a key that is found out later tells nothing of sessions before its birth.
///
/// Clones share the keys. To let another process resume the sessions of this one, [`export`](Self::export) them to it over
/// a channel that nobody else can read: who has them can read what a session sent that was resumed without a key
/// exchange (in TLS 1.2 always). They are never in `Debug`.
#[derive(Clone)]
pub struct TicketKeys {
    shared: Arc<RwLock<Keys>>,
}

struct Keys {
    /// The one that seals first.
    keys: Vec<Key>,
    /// They come from there, and do not rotate by themselves.
    file: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: [u8; 16],
    pub(super) secret: [u8; 32],
    /// Seconds since 1970.
    born: u64,
}

/// Ticket keys that cannot be used. Nothing of a key is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketKeysError {
    /// The system has no randomness to give.
    #[error("the system gives no random numbers for ticket keys")]
    Random,
    /// What was exported is in no form that is known here.
    #[error("the ticket keys are in a form that this version does not know")]
    Form,
    /// The file cannot be read.
    #[error("cannot read the ticket keys {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in the file is no key.
    #[error(
        "line {line} of the ticket keys {} is no key: a key is 64 hexadecimal digits, as `openssl rand -hex 32` makes them; \
         the first one seals, all of them open",
        .path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
    },
    /// There is no key in the file.
    #[error("there is no key in the ticket keys {}: make one by `openssl rand -hex 32`", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl TicketKeys {
    /// New keys, which nobody else has.
    ///
    /// # Errors
    ///
    /// If the system has no randomness to give.
    pub fn generate() -> Result<Self, TicketKeysError> {
        Ok(Self::of(Keys { keys: vec![Key::generate(now())?], file: None }))
    }

    /// The keys of a file that several processes share: a line of 64 hexadecimal digits for each. The first seals, all of them open. They
    /// do not rotate by themselves: put a new line on top, and reload.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, and names the line that is no key.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, TicketKeysError> {
        let path = path.into();
        Ok(Self::of(Keys { keys: read(&path)?, file: Some(path) }))
    }

    fn of(keys: Keys) -> Self {
        Self { shared: Arc::new(RwLock::new(keys)) }
    }

    /// The keys as bytes, to be handed to another process. **They are secret.**
    #[must_use]
    pub fn export(&self) -> Vec<u8> {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = vec![FORMAT];
        for key in &shared.keys {
            bytes.extend_from_slice(&key.name);
            bytes.extend_from_slice(&key.secret);
            bytes.extend_from_slice(&key.born.to_be_bytes());
        }
        bytes
    }

    /// Goes on with the keys that another process has exported: they seal and open from now on, for what is left of their lives.
    /// Keys of a file stay as they are.
    ///
    /// # Errors
    ///
    /// If the bytes are no keys; then nothing has changed.
    pub fn import(&self, bytes: &[u8]) -> Result<(), TicketKeysError> {
        let Some((&FORMAT, rest)) = bytes.split_first() else { return Err(TicketKeysError::Form) };
        let (chunks, remainder) = rest.as_chunks::<EXPORTED>();
        if !remainder.is_empty() || chunks.len() > MOST_KEYS {
            return Err(TicketKeysError::Form);
        }
        let imported = chunks.iter().map(Key::imported).collect::<Vec<_>>();
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        if shared.file.is_none() && !imported.is_empty() {
            shared.keys = imported;
            shared.retire(now());
        }
        Ok(())
    }

    /// The file that they come from.
    pub(in super::super) fn file(&self) -> Option<PathBuf> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).file.clone()
    }

    /// What is in the file now; `None` where there is none.
    pub(in super::super) fn reread(&self) -> Result<Option<FileKeys>, TicketKeysError> {
        self.file().map(|path| read(&path).map(FileKeys)).transpose()
    }

    /// Takes what [`reread`](Self::reread) has read.
    pub(in super::super) fn take(&self, keys: FileKeys) {
        self.shared.write().unwrap_or_else(PoisonError::into_inner).keys = keys.0;
    }

    /// The key that seals now.
    pub(super) fn sealing(&self) -> Option<Key> {
        let now = now();
        {
            let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(key) = shared.keys.first()
                && (shared.file.is_some() || key.age(now) < ROTATION)
            {
                return Some(key.clone());
            }
        }
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster.
        if shared.keys.first().is_none_or(|key| key.age(now) >= ROTATION) {
            shared.keys.insert(0, Key::generate(now).ok()?);
            shared.retire(now);
        }
        shared.keys.first().cloned()
    }

    /// The key of this name, if it still opens.
    pub(super) fn opening(&self, name: &[u8; 16]) -> Option<Key> {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let key = shared.keys.iter().find(|key| key.name == *name)?;
        (shared.file.is_some() || key.age(now()) < ROTATION + TICKET_LIFETIME).then(|| key.clone())
    }
}

/// Keys that were read and are not used yet.
pub(in super::super) struct FileKeys(Vec<Key>);

impl Keys {
    /// Forgets what opens nothing any more.
    fn retire(&mut self, now: u64) {
        self.keys.retain(|key| key.age(now) < ROTATION + TICKET_LIFETIME);
        self.keys.truncate(MOST_KEYS);
    }
}

impl Key {
    fn generate(born: u64) -> Result<Self, TicketKeysError> {
        let (mut name, mut secret) = ([0; 16], [0; 32]);
        let random = SystemRandom::new();
        random
            .fill(&mut name)
            .and_then(|()| random.fill(&mut secret))
            .map_err(|_| TicketKeysError::Random)?;
        Ok(Self { name, secret, born })
    }

    fn imported(bytes: &[u8; EXPORTED]) -> Self {
        let (mut name, mut secret, mut born) = ([0; 16], [0; 32], [0; 8]);
        name.copy_from_slice(&bytes[..16]);
        secret.copy_from_slice(&bytes[16..48]);
        born.copy_from_slice(&bytes[48..]);
        Self { name, secret, born: u64::from_be_bytes(born) }
    }

    /// A birth in the future is of a clock that was set back since: it is old.
    fn age(&self, now: u64) -> Duration {
        now.checked_sub(self.born).map_or(ROTATION, Duration::from_secs)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn read(path: &Path) -> Result<Vec<Key>, TicketKeysError> {
    let text =
        fs::read_to_string(path).map_err(|source| TicketKeysError::Read { path: path.to_owned(), source })?;
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let secret = digest::from_hex(line)
            .ok_or_else(|| TicketKeysError::Line { path: path.to_owned(), line: index + 1 })?;
        // Every process must find the same name; it tells nothing of the secret.
        let mut name = [0; 16];
        name.copy_from_slice(&digest::sha256(&[b"portcullis ticket key", &secret[..]].concat())[..16]);
        keys.push(Key { name, secret, born: 0 });
    }
    if keys.is_empty() {
        return Err(TicketKeysError::Empty { path: path.to_owned() });
    }
    Ok(keys)
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("TicketKeys").field("keys", &shared.keys.len()).field("file", &shared.file).finish()
    }
}
