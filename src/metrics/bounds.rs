//! The bounds of histograms.

use std::sync::Arc;

use portcullis_layers::metrics::{CONNECTION_DURATION_BUCKETS, HANDSHAKE_DURATION_BUCKETS};

/// The bounds of the library's own histograms, by what their names end with: the prefix is
/// configurable.
const OWN: [(&str, &[f64]); 4] = [
    ("connection_duration_seconds", CONNECTION_DURATION_BUCKETS),
    ("tls_handshake_duration_seconds", HANDSHAKE_DURATION_BUCKETS),
    // From a program that is ready at once to one that warms its caches for the longest deadline.
    ("restart_duration_seconds", &[0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10., 30., 60., 120., 300.]),
    // From no connection at all, past the default deadline of 30 seconds, to downloads that take an
    // hour.
    ("drain_duration_seconds", &[0.1, 0.5, 1., 2.5, 5., 10., 20., 30., 60., 300., 900., 3600.]),
];

/// The bounds of a histogram that was not given any: those of Prometheus' client libraries, which
/// suit the seconds of a request.
pub(crate) const DEFAULT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10.];

/// The bounds of histograms by their names, where they are not those of the library.
pub(crate) type NamedBounds = Vec<(String, Vec<f64>)>;

/// Those that were given last for this name, or those of the library.
pub(super) fn bounds(name: &str, given: &NamedBounds) -> Arc<[f64]> {
    let given = given.iter().rev().find(|(given, _)| given == name).map(|(_, bounds)| &**bounds);
    let own = || OWN.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, bounds)| *bounds);
    given.or_else(own).unwrap_or(&DEFAULT_BOUNDS).into()
}
