//! One line of the list.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::Activity;
use crate::{address::Peer, tls_info::TlsVersion};

/// An open connection at the moment somebody asked; see [`Tracker::connections`](super::Tracker::connections).
///
/// The numbers are read one after the other while the connection goes on, so they need not be of the very
/// same instant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackedConnection {
    /// Its number. Numbers rise with every connection of the same tracker and are never used again.
    pub id: u64,
    /// The name of the listener, where [`TrackLayer::listener`](super::TrackLayer::listener) gave one.
    pub listener: Option<Arc<str>>,
    /// The other end, as the stream below the layer named it.
    pub peer: Peer,
    /// When it was opened, by the clock on the wall.
    pub since: SystemTime,
    /// For how long it has been open, by a clock that nobody sets.
    pub age: Duration,
    /// Bytes that were read from the stream below the layer.
    pub bytes_read: u64,
    /// Bytes that the stream below the layer took.
    pub bytes_written: u64,
    /// What it is doing.
    pub activity: Activity,
    /// The version of TLS, once the handshake is complete.
    pub tls: Option<TlsVersion>,
    /// Whom the client's certificate names, where it gave one that was verified: the
    /// [`ClientIdentity`](crate::ClientIdentity) as it is displayed, with what is not printable escaped.
    pub identity: Option<Arc<str>>,
}
