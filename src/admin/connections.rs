//! `/connections`: the open connections as JSON.

use portcullis_layers::track::Tracker;

use crate::control::OpenConnection;

/// The array, the oldest connection first.
pub(super) fn render(tracker: &Tracker) -> Result<String, serde_json::Error> {
    let rows: Vec<_> = tracker.connections().iter().map(OpenConnection::from).collect();
    serde_json::to_string(&rows)
}
