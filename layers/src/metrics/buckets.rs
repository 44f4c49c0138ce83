//! The bounds of the histograms.

/// The upper bounds, in seconds, for `connection_duration_seconds`: from a health probe to half a day.
///
/// An exporter has to be told; see [the module](super#buckets).
pub const CONNECTION_DURATION_BUCKETS: &[f64] =
    &[0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0];

/// The upper bounds, in seconds, for `tls_handshake_duration_seconds`: from a resumption next door to the default
/// deadline of a handshake.
///
/// An exporter has to be told; see [the module](super#buckets).
pub const HANDSHAKE_DURATION_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
