//! The series of one listener.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Gauge, Histogram, Unit};

use super::{
    label::{Alpn, Cipher, Direction, Group, Label},
    register::{Family, Registrar},
};
use crate::{
    outcome::{CloseReason, HandshakeFailure, Outcome, RejectReason},
    tls_info::{TlsInfo, TlsVersion},
};

/// Handles to every series, registered once; counting is an add to an atomic integer.
pub(super) struct Series {
    pub(super) accepted: Counter,
    pub(super) active: Gauge,
    pub(super) handshaking: Gauge,
    rejected: Family<RejectReason>,
    closed: Family<CloseReason>,
    duration: Histogram,
    pub(super) bytes: Family<Direction>,
    // By version.
    handshakes: Box<[Family<bool>]>,
    failures: Family<HandshakeFailure>,
    // By whether the session was resumed.
    handshake_duration: Box<[Histogram]>,
    groups: Family<Group>,
    ciphers: Family<Cipher>,
    alpn: Family<Alpn>,
}

impl Series {
    pub(super) fn register(prefix: String, listener: Arc<str>) -> Self {
        let to = Registrar { prefix, listener };
        Self {
            accepted: to.counter("connections_accepted_total", "Connections that were accepted."),
            active: to.gauge("connections_active", "Connections that are open."),
            handshaking: to.gauge("connections_handshaking", "Connections in their TLS handshake."),
            rejected: to.family(
                "connections_rejected_total",
                Unit::Count,
                "Connections that were turned away before anything was served.",
                "reason",
            ),
            closed: to.family(
                "connections_closed_total",
                Unit::Count,
                "Connections that were served and are over.",
                "reason",
            ),
            duration: to.histogram(
                "connection_duration_seconds",
                "How long the connections that were served lasted, from accept to end.",
            ),
            bytes: to.family(
                "connection_bytes_total",
                Unit::Bytes,
                "Bytes that were read from and written to connections.",
                "direction",
            ),
            handshakes: to.families::<TlsVersion, bool>(
                "tls_handshakes_total",
                "TLS handshakes that were completed.",
                ["version", "resumed"],
            ),
            failures: to.family(
                "tls_handshake_failures_total",
                Unit::Count,
                "TLS handshakes that failed.",
                "reason",
            ),
            handshake_duration: to.histograms::<bool>(
                "tls_handshake_duration_seconds",
                "How long the TLS handshakes that were completed took.",
                "resumed",
            ),
            groups: to.family(
                "tls_groups_total",
                Unit::Count,
                "Completed TLS handshakes by the group of their key exchange.",
                "group",
            ),
            ciphers: to.family(
                "tls_ciphers_total",
                Unit::Count,
                "Completed TLS handshakes by their cipher suite.",
                "cipher",
            ),
            alpn: to.family(
                "tls_alpn_total",
                Unit::Count,
                "Completed TLS handshakes by their application protocol.",
                "protocol",
            ),
        }
    }

    /// Counts a handshake that is complete; `took` where it was seen from its start.
    pub(super) fn handshake(&self, tls: &TlsInfo, took: Option<Duration>) {
        let resumed = tls.resumed;
        self.handshakes[tls.version.index()].count(resumed);
        if let Some(took) = took {
            self.handshake_duration[resumed.index()].record(took);
        }
        self.groups.count(Group::of(tls));
        self.ciphers.count(Cipher::of(tls));
        self.alpn.count(Alpn::of(tls));
    }

    /// Counts the end of a connection. Together these are all that were accepted.
    pub(super) fn ending(&self, ending: Outcome, lasted: Duration) {
        match ending {
            Outcome::Rejected(reason) => self.rejected.count(reason),
            Outcome::HandshakeFailed(failure) => self.failures.count(failure),
            Outcome::Closed(reason) => {
                self.closed.count(reason);
                self.duration.record(lasted);
            }
        }
    }
}
