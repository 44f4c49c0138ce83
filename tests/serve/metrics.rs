//! At rest, every accepted connection is accounted for, whatever kinds of clients there were and whichever generations
//! served them; every byte is counted; no label says who the clients were.

use std::{collections::BTreeSet, net::Ipv4Addr};

use harness::{
    Authority, Echo, Kind, Metrics, Server, Target,
    certificates::{CLIENT_NAME, SERVER_NAME, Versions},
    connect, reset,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DENIED: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 1);

/// Everything but the admin's own listener, whose connections are the scrapes themselves.
fn sum(metrics: &Metrics, name: &str) -> f64 {
    metrics.sum(name, &[("listener", "echo")])
}

/// Waits until `connections` were accepted and nothing is in flight, and checks the identities of METRICS.md.
async fn at_rest(server: &Server, connections: f64) -> Metrics {
    let metrics = server
        .metrics_when("all is over and counted", |metrics| {
            let over = sum(metrics, "portcullis_connections_rejected_total")
                + sum(metrics, "portcullis_tls_handshake_failures_total")
                + sum(metrics, "portcullis_connections_closed_total");
            // A connection is taken out of its gauge a moment before or after it is counted.
            let open = sum(metrics, "portcullis_connections_active")
                + sum(metrics, "portcullis_connections_handshaking");
            sum(metrics, "portcullis_connections_accepted_total") >= connections
                && over >= connections
                && open == 0.0
        })
        .await;
    let accepted = sum(&metrics, "portcullis_connections_accepted_total");
    let rejected = sum(&metrics, "portcullis_connections_rejected_total");
    let failed = sum(&metrics, "portcullis_tls_handshake_failures_total");
    let closed = sum(&metrics, "portcullis_connections_closed_total");
    assert_eq!(accepted, connections);
    assert_eq!(accepted, rejected + failed + closed, "{:#?}", metrics.nonzero());
    metrics
}

fn closed(metrics: &Metrics, reason: &str) -> f64 {
    metrics.sum("portcullis_connections_closed_total", &[("listener", "echo"), ("reason", reason)])
}

/// Good and bad clients of a plain server. Returns how many connections there were, and the bytes that were echoed.
async fn plain_clients(target: &Target) -> (f64, f64) {
    let Target::Tcp { to, .. } = *target else { panic!("a plain server") };
    let mut connections = 0.0;
    let mut bytes = 0.0;
    for length in [1, 1000, 100_000] {
        target.visit(length).await.expect("a good client");
        connections += 1.0;
        bytes += length as f64;
    }
    // Connects and closes.
    target.connect().await.expect("a connection").finish().await.expect("an orderly end");
    // Is denied.
    let mut denied = target.clone().from(DENIED).connect().await.expect("a connection");
    denied.wait_for_end().await;
    // Breaks off, after everything has come back.
    let mut stream = connect(to, None).await.expect("a connection");
    stream.write_all(b"hello").await.expect("bytes are taken");
    stream.read_exact(&mut [0; 5]).await.expect("they come back");
    reset(stream);
    (connections + 3.0, bytes + 5.0)
}

#[tokio::test]
async fn metrics_of_plain_connections_add_up() {
    let mut server = Echo::new(Kind::Tcp).option("--allow", "127.0.0.0/16").start().await;
    let (mut all_connections, mut all_bytes) = (0.0, 0.0);
    // Over the whole line: a new process goes on where its predecessor was.
    for generation in [1.0, 2.0, 3.0] {
        let (connections, bytes) = plain_clients(&server.target().clone()).await;
        all_connections += connections;
        all_bytes += bytes;
        let metrics = at_rest(&server, all_connections).await;
        assert_eq!(metrics.sum("portcullis_generation", &[]), generation);
        assert_eq!(sum(&metrics, "portcullis_connections_rejected_total"), generation);
        assert_eq!(closed(&metrics, "reset"), generation);
        assert_eq!(
            closed(&metrics, "completed") + closed(&metrics, "client_eof"),
            all_connections - 2.0 * generation
        );
        for direction in ["read", "written"] {
            let counted = metrics
                .sum("portcullis_connection_bytes_total", &[("listener", "echo"), ("direction", direction)]);
            assert_eq!(counted, all_bytes, "{direction}");
        }
        let duration = sum(&metrics, "portcullis_connection_duration_seconds_count");
        assert_eq!(duration, all_connections - generation, "every served connection has a duration");
        server.restart().await;
    }
}

#[tokio::test]
async fn metrics_of_tls_connections_add_up() {
    let clients = Authority::new();
    let echo = Echo::new(Kind::Tls);
    let ca = echo.place().path("clients.crt");
    std::fs::write(&ca, clients.pem()).expect("a file of ours");
    let server = echo.option("--client-ca", &ca).option("--allow", "127.0.0.0/16").start().await;
    let address = server.place().address(6789);
    let good = clients.client();

    for version in [Versions::Tls12, Versions::Tls13] {
        let config = server.authority().trusted_by(Some(&good), version);
        Target::tls(address, config).visit(10_000).await.expect("a good client");
    }
    let strangers = [None, Some(clients.expired_client()), Some(Authority::new().client())];
    for stranger in &strangers {
        let config = server.authority().trusted_by(stranger.as_ref(), Versions::Tls12);
        Target::tls(address, config).connect().await.expect_err("a bad certificate");
    }
    // Does not trust the server.
    let config = Authority::new().trusted_by(Some(&good), Versions::Tls13);
    Target::tls(address, config).connect().await.expect_err("an unknown authority");
    // Is denied.
    Target::tcp(address).from(DENIED).connect().await.expect("a connection").wait_for_end().await;
    // Speaks another protocol.
    let mut stream = connect(address, None).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("bytes are taken");
    let _ = stream.read_to_end(&mut Vec::new()).await;
    // Looks whether somebody is there.
    drop(connect(address, None).await.expect("a connection"));
    // Breaks off in the handshake.
    let mut stream = connect(address, None).await.expect("a connection");
    stream.write_all(&[22, 3, 1]).await.expect("bytes are taken");
    reset(stream);

    let metrics = at_rest(&server, 10.0).await;
    assert_eq!(sum(&metrics, "portcullis_connections_rejected_total"), 1.0);
    assert_eq!(sum(&metrics, "portcullis_tls_handshakes_total"), 2.0);
    assert_eq!(sum(&metrics, "portcullis_connections_closed_total"), 2.0);
    let failures = |reason: &str| {
        metrics.sum("portcullis_tls_handshake_failures_total", &[("listener", "echo"), ("reason", reason)])
    };
    for reason in ["cert_missing", "cert_expired", "cert_unknown_ca", "not_tls", "eof_empty"] {
        assert_eq!(failures(reason), 1.0, "{reason}: {:#?}", metrics.nonzero());
    }
    no_label_tells_who(&metrics);
}

#[tokio::test]
async fn every_series_is_there_from_the_start() {
    let server = Echo::new(Kind::Tls).start().await;
    let metrics = server.metrics().await;
    for (name, kind) in [
        ("portcullis_connections_accepted_total", "counter"),
        ("portcullis_connections_active", "gauge"),
        ("portcullis_connections_handshaking", "gauge"),
        ("portcullis_connections_rejected_total", "counter"),
        ("portcullis_connections_closed_total", "counter"),
        ("portcullis_connection_bytes_total", "counter"),
        ("portcullis_accept_errors_total", "counter"),
        ("portcullis_tls_handshakes_total", "counter"),
        ("portcullis_tls_handshake_failures_total", "counter"),
        ("portcullis_generation", "gauge"),
        ("portcullis_restarts_total", "counter"),
        ("portcullis_draining", "gauge"),
        ("portcullis_generations_draining", "gauge"),
        ("portcullis_build_info", "gauge"),
        ("process_open_fds", "gauge"),
    ] {
        assert!(metrics.named(name).next().is_some(), "{name} is not there");
        assert_eq!(metrics.types.get(name).map(String::as_str), Some(kind), "{name}");
    }
    let words = |name: &str, label: &str| -> BTreeSet<String> {
        metrics.named(name).filter_map(|series| series.labels.get(label).cloned()).collect()
    };
    let expected = |words: &str| words.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(
        words("portcullis_restarts_total", "result"),
        expected("succeeded refused spawn_failed crashed timed_out rejected rolled_back cancelled")
    );
    assert_eq!(words("portcullis_connection_bytes_total", "direction"), expected("read written"));
    assert_eq!(
        words("portcullis_accept_errors_total", "error"),
        expected("emfile enfile nomem aborted other")
    );
    assert!(words("portcullis_connections_rejected_total", "reason").contains("address"));
    assert!(
        words("portcullis_connections_closed_total", "reason")
            .is_superset(&expected("completed reset drain_forced"))
    );
}

#[tokio::test]
async fn histograms_have_buckets() {
    let mut server = Echo::new(Kind::Tls).start().await;
    server.target().visit(1000).await.expect("an echo");
    server.restart().await;
    server.target().visit(1000).await.expect("an echo");
    let metrics = at_rest(&server, 2.0).await;
    for (name, kind) in &metrics.types {
        assert_ne!(kind, "summary", "{name}: summaries cannot be added up");
    }
    for (name, bounds) in [
        ("connection_duration_seconds", "0.01 0.05 0.25 1 5 15 60 300 1800 7200 43200 +Inf"),
        ("tls_handshake_duration_seconds", "0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf"),
        ("restart_duration_seconds", ""),
    ] {
        let name = format!("portcullis_{name}");
        assert_eq!(metrics.types.get(&name).map(String::as_str), Some("histogram"), "{name}");
        let buckets = format!("{name}_bucket");
        let found: BTreeSet<_> =
            metrics.named(&buckets).filter_map(|series| series.labels.get("le")).collect();
        assert!(!found.is_empty(), "{name}");
        if !bounds.is_empty() {
            assert_eq!(
                found,
                bounds.split(' ').map(str::to_owned).collect::<BTreeSet<_>>().iter().collect(),
                "{name}"
            );
        }
        assert!(metrics.sum(&format!("{name}_count"), &[]) >= 1.0, "{name}");
    }
}

/// Labels are closed sets: no address, no server name, no name out of a certificate, no text of an error.
fn no_label_tells_who(metrics: &Metrics) {
    for series in &metrics.series {
        for (label, value) in &series.labels {
            let told = value.contains("127.") || value.contains(CLIENT_NAME) || value.contains(SERVER_NAME);
            assert!(!told && !value.contains(' '), "{} has {label}={value:?}", series.name);
        }
    }
}
