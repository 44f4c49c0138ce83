//! The status of a server.

use humantime::format_rfc3339_seconds;
use portcullis_layers::track::{Activity, TrackedConnection};
use serde::{Deserialize, Serialize};

use crate::{generation::Generation, lifecycle::Phase, metrics::EarlierGeneration};

/// The status of a server, as returned by [`Client::status`](super::Client::status) and `ctl PATH
/// status --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The phase of the generation.
    #[serde(with = "super::word")]
    pub phase: Phase,
    /// The number of the generation; the first is 1.
    pub generation: u64,
    /// The process id, in the server's own PID namespace.
    pub pid: u32,
    /// Seconds since the generation started.
    pub uptime_seconds: f64,
    /// Its listeners, the control path among them.
    pub listeners: Vec<ListenerStatus>,
    /// Open connections of this generation, without those of the control path and of the admin
    /// listener.
    pub connections: usize,
    /// Older generations that still drain.
    #[serde(default)]
    pub draining: Vec<DrainingGeneration>,
    /// The version of the library.
    pub version: String,
}

impl Status {
    pub(super) fn of(generation: &Generation) -> Self {
        let listeners = generation.registry().listeners().into_iter().map(|listener| {
            let socket = listener.acceptor.describe();
            let address = format!("{}://{}", socket.kind, socket.address);
            ListenerStatus { name: listener.name.to_string(), address }
        });
        let earlier = generation.metrics().earlier_generations().into_iter();
        let draining =
            earlier.map(|EarlierGeneration { generation, pid, .. }| DrainingGeneration { generation, pid });
        Self {
            phase: generation.phase(),
            generation: generation.number(),
            pid: std::process::id(),
            uptime_seconds: generation.started().elapsed().as_secs_f64(),
            listeners: listeners.collect(),
            connections: generation.lifecycle().open(false).connections(),
            draining: draining.collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A listener of a [`Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// The address that it is bound to, as a URI.
    pub address: String,
}

/// An older generation of a [`Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DrainingGeneration {
    /// Its number.
    pub generation: u64,
    /// Its process id, in its own PID namespace.
    pub pid: u32,
}

/// An open connection, as `/connections` of the admin and [`Client::connections`](super::Client::connections) show it.
/// Fields may be added; those that are here keep their names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OpenConnection {
    /// Its number, which no other connection of this generation has.
    pub id: u64,
    /// The listener that accepted it, if the tracking layer has a name.
    pub listener: Option<String>,
    /// The peer.
    pub peer: String,
    /// When it was accepted (RFC 3339).
    pub since: String,
    /// Seconds since it was accepted.
    pub age_seconds: f64,
    /// Bytes received from the peer.
    pub bytes_read: u64,
    /// Bytes sent to the peer.
    pub bytes_written: u64,
    /// What the connection is waiting for.
    #[serde(with = "super::word")]
    pub activity: Activity,
    /// The version of TLS, such as `TLSv1.3`; `None` without TLS, and before the handshake is complete.
    #[serde(default)]
    pub tls: Option<String>,
    /// The identity in the client's certificate
    /// ([`ClientIdentity`](portcullis_layers::ClientIdentity)), with characters that are not
    /// printable escaped. `None` without a client certificate.
    #[serde(default)]
    pub identity: Option<String>,
}

impl From<&TrackedConnection> for OpenConnection {
    fn from(connection: &TrackedConnection) -> Self {
        Self {
            id: connection.id,
            listener: connection.listener.as_deref().map(str::to_owned),
            peer: connection.peer.to_string(),
            since: format_rfc3339_seconds(connection.since).to_string(),
            age_seconds: connection.age.as_secs_f64(),
            bytes_read: connection.bytes_read,
            bytes_written: connection.bytes_written,
            activity: connection.activity,
            tls: connection.tls.map(|version| version.as_str().to_owned()),
            identity: connection.identity.as_deref().map(str::to_owned),
        }
    }
}
