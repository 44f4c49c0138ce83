//! Every series exists from the start, is described, and has closed labels.

use std::collections::BTreeMap;

use metrics::Unit;
use portcullis_layers::{
    CloseReason, RejectReason,
    metrics::{CONNECTION_DURATION_BUCKETS, HANDSHAKE_DURATION_BUCKETS, MetricsLayer},
    tls::HandshakeFailure,
};

use crate::Recorded;

#[test]
fn every_series_exists_from_the_start() {
    let all = Recorded::new().all();
    let mut count = BTreeMap::<&str, usize>::new();
    for (name, series) in &all {
        assert_eq!(series.value, 0.0, "{name}");
        assert!(name.contains("{listener=echo"), "{name}");
        *count.entry(name.split('{').next().unwrap()).or_default() += 1;
    }
    let expected = BTreeMap::from([
        ("portcullis_connections_accepted_total", 1),
        ("portcullis_connections_active", 1),
        ("portcullis_connections_handshaking", 1),
        ("portcullis_connections_rejected_total", RejectReason::ALL.len()),
        ("portcullis_connections_closed_total", CloseReason::ALL.len()),
        ("portcullis_connection_duration_seconds", 1),
        ("portcullis_connection_bytes_total", 2),
        ("portcullis_tls_handshakes_total", 4),
        ("portcullis_tls_handshake_failures_total", HandshakeFailure::ALL.len()),
        ("portcullis_tls_handshake_duration_seconds", 2),
        ("portcullis_tls_groups_total", 9),
        ("portcullis_tls_ciphers_total", 10),
        ("portcullis_tls_alpn_total", 13),
    ]);
    assert_eq!(count, expected);
    for series in [
        "connections_rejected_total{listener=echo,reason=address}",
        "connections_closed_total{listener=echo,reason=client_eof}",
        "connection_bytes_total{listener=echo,direction=written}",
        "tls_handshakes_total{listener=echo,version=TLSv1.3,resumed=false}",
        "tls_handshake_failures_total{listener=echo,reason=not_tls}",
        "tls_handshake_duration_seconds{listener=echo,resumed=true}",
        "tls_groups_total{listener=echo,group=X25519MLKEM768}",
        "tls_ciphers_total{listener=echo,cipher=TLS13_AES_256_GCM_SHA384}",
        "tls_alpn_total{listener=echo,protocol=http/1.1}",
    ] {
        assert!(all.contains_key(&format!("portcullis_{series}")), "{series}");
    }
}

#[test]
fn every_series_has_a_unit_and_a_help_text() {
    for (name, series) in Recorded::new().all() {
        let unit = match &*name {
            _ if name.contains("_seconds{") => Unit::Seconds,
            _ if name.contains("_bytes_") => Unit::Bytes,
            _ => Unit::Count,
        };
        assert_eq!(series.unit, Some(unit), "{name}");
        let help = series.help.unwrap_or_else(|| panic!("{name} has no help"));
        assert!(help.ends_with('.'), "{name}: {help}");
    }
}

#[test]
fn the_prefix_and_the_listener_are_the_users() {
    let recorded = Recorded::new();
    let _mail = recorded.build(|| MetricsLayer::builder("submission").prefix("mail").build());
    let _bare = recorded.build(|| MetricsLayer::builder("bare").prefix("").build());
    let all = recorded.all();
    assert!(all.contains_key("mail_connections_active{listener=submission}"));
    assert!(all.contains_key("connections_active{listener=bare}"));
}

#[test]
fn the_buckets_rise() {
    for buckets in [CONNECTION_DURATION_BUCKETS, HANDSHAKE_DURATION_BUCKETS] {
        assert!(buckets.is_sorted_by(|a, b| a < b));
    }
}
