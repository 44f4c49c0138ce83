//! What the registry knows of one connection: the only thing that is allocated for it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use super::{Activity, TrackedConnection, Tracker};
use crate::{
    address::Peer,
    close_signal::CloseSignal,
    tls_info::{TlsInfo, TlsVersion},
};

/// The guard of a connection, shared by its future and its stream. When the last of the two lets go of it, the
/// connection is no longer open: dropping the entry strikes it off the registry, which has only a weak reference.
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) listener: Option<Arc<str>>,
    pub(super) peer: Peer,
    since: SystemTime,
    opened: Instant,
    tls: OnceLock<Secured>,
    // Written by the stream alone, with plain stores. Read by snapshots.
    read: AtomicU64,
    written: AtomicU64,
    activity: AtomicU8,
    /// Closes it from outside. The tasks that poll its future, a read, and a write (or a flush, or a shutdown) wait for it.
    pub(super) close: CloseSignal,
    tracker: Tracker,
}

/// What TLS has agreed on.
struct Secured {
    version: TlsVersion,
    /// Escaped: it comes from a certificate.
    identity: Option<Arc<str>>,
}

impl Entry {
    pub(super) fn new(id: u64, listener: Option<Arc<str>>, peer: Peer, tracker: Tracker) -> Self {
        Self {
            id,
            listener,
            peer,
            since: SystemTime::now(),
            opened: Instant::now(),
            tls: OnceLock::new(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            activity: AtomicU8::new(Activity::Working as u8),
            close: CloseSignal::new(),
            tracker,
        }
    }

    pub(super) const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// A handshake is complete. Where there is TLS within TLS, the first one to complete stands: it is the outer one.
    pub(super) fn secured(&self, tls: &TlsInfo) {
        self.tls.get_or_init(|| Secured {
            version: tls.version,
            identity: tls.client_identity.as_ref().map(|identity| identity.to_string().into()),
        });
    }

    pub(super) fn set_read(&self, total: u64) {
        self.read.store(total, Ordering::Relaxed);
    }

    pub(super) fn set_written(&self, total: u64) {
        self.written.store(total, Ordering::Relaxed);
    }

    /// What the stream does, as the stream sees it. A handshake goes on through many reads and writes.
    pub(super) fn streaming(&self, activity: Activity) {
        if self.activity.load(Ordering::Relaxed) != Activity::Handshaking as u8 {
            self.set_activity(activity);
        }
    }

    pub(super) fn set_activity(&self, activity: Activity) {
        self.activity.store(activity as u8, Ordering::Relaxed);
    }

    fn activity(&self) -> Activity {
        let code = self.activity.load(Ordering::Relaxed);
        Activity::ALL.get(usize::from(code)).copied().unwrap_or(Activity::Working)
    }

    pub(super) fn snapshot(&self) -> TrackedConnection {
        TrackedConnection {
            id: self.id,
            listener: self.listener.clone(),
            peer: self.peer,
            since: self.since,
            age: self.opened.elapsed(),
            bytes_read: self.read.load(Ordering::Relaxed),
            bytes_written: self.written.load(Ordering::Relaxed),
            activity: self.activity(),
            tls: self.tls.get().map(|secured| secured.version),
            identity: self.tls.get().and_then(|secured| secured.identity.clone()),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.tracker.closed(self.id);
    }
}
