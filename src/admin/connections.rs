//! `/connections`: the open connections as JSON.

use humantime::format_rfc3339_seconds;
use portcullis_layers::{
    tls::TlsVersion,
    track::{TrackedConnection, Tracker},
};
use serde::Serialize;

/// One element of the array. Fields may be added; those that are here keep their names.
#[derive(Debug, Serialize)]
struct Row<'a> {
    id: u64,
    listener: Option<&'a str>,
    peer: String,
    since: String,
    age_seconds: f64,
    bytes_read: u64,
    bytes_written: u64,
    activity: &'static str,
    /// The version, such as `TLSv1.3`; `null` without TLS, and before the handshake is complete.
    tls: Option<&'static str>,
    /// Whom the client's certificate names; `null` where there is none.
    identity: Option<&'a str>,
}

impl<'a> From<&'a TrackedConnection> for Row<'a> {
    fn from(connection: &'a TrackedConnection) -> Self {
        Self {
            id: connection.id,
            listener: connection.listener.as_deref(),
            peer: connection.peer.to_string(),
            since: format_rfc3339_seconds(connection.since).to_string(),
            age_seconds: connection.age.as_secs_f64(),
            bytes_read: connection.bytes_read,
            bytes_written: connection.bytes_written,
            activity: connection.activity.as_str(),
            tls: connection.tls.map(TlsVersion::as_str),
            identity: connection.identity.as_deref(),
        }
    }
}

/// The array, the oldest connection first.
pub(super) fn render(tracker: &Tracker) -> Result<String, serde_json::Error> {
    let connections = tracker.connections();
    let rows: Vec<Row<'_>> = connections.iter().map(Row::from).collect();
    serde_json::to_string(&rows)
}
