//! Sessions are resumed after a restart, but not by a client that was revoked, nor after a change of whom to trust.

use std::{fs, path::Path, sync::Arc};

use harness::{
    Authority, Echo, Kind, Server, Target,
    certificates::{Identity, SERVER_NAME, Versions},
    meet,
};
use tokio_rustls::rustls::ClientConfig;

const BOTH: [Versions; 2] = [Versions::Tls12, Versions::Tls13];

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("a file of ours");
    fs::rename(&beside, path).expect("a file of ours");
}

/// A server whose clients need a certificate that is not on the authority's list.
fn asking(clients: &Authority) -> Echo {
    let echo = Echo::new(Kind::Tls);
    let (ca, crl) = (echo.place().path("clients.crt"), echo.place().path("clients.crl"));
    fs::write(&ca, clients.pem()).expect("a file of ours");
    fs::write(&crl, clients.crl(&[])).expect("a file of ours");
    echo.option("--client-ca", ca).option("--crl", crl)
}

/// Puts something else there, and waits until it counts.
async fn change(server: &Server, file: &str, text: &str) {
    let start = server.log().len();
    replace(&server.place().path(file), text);
    let told = |line: &str| line.contains("TLS reloaded") && line.contains("trust_changed=true");
    server.log().wait_from(start, "others are trusted", told).await;
}

async fn is_resumed(server: &Server, config: &Arc<ClientConfig>) -> bool {
    meet(server.place().address(6789), SERVER_NAME, config).await.expect("served").resumed
}

/// A client with a session: one that is resumed.
async fn returning(server: &Server, client: Option<&Identity>, version: Versions) -> Arc<ClientConfig> {
    let config = server.authority().trusted_by(client, version);
    assert!(!is_resumed(server, &config).await, "{version:?}: the first");
    assert!(is_resumed(server, &config).await, "{version:?}: the second");
    config
}

#[tokio::test]
async fn a_session_outlives_a_restart() {
    let clients = Authority::new();
    let mut server = asking(&clients).start().await;
    let client = clients.client();
    let mut configs = Vec::new();
    for version in BOTH {
        configs.push(returning(&server, Some(&client), version).await);
    }
    server.restart().await;
    for config in &configs {
        assert!(is_resumed(&server, config).await);
    }
}

#[tokio::test]
async fn a_session_does_not_outlive_a_successor_that_trusts_others() {
    let clients = Authority::new();
    let mut server = asking(&clients).start().await;
    let client = clients.client();
    let mut configs = Vec::new();
    for version in BOTH {
        configs.push(returning(&server, Some(&client), version).await);
    }
    change(&server, "clients.crt", &format!("{}{}", clients.pem(), Authority::new().pem())).await;
    server.restart().await;
    for config in &configs {
        assert!(!is_resumed(&server, config).await, "a full handshake, and it is served");
    }
}

#[tokio::test]
async fn a_session_does_not_let_a_revoked_client_in() {
    let clients = Authority::new();
    let mut server = asking(&clients).start().await;
    let (good, bad) = (clients.client(), clients.client());
    let (mut goods, mut bads) = (Vec::new(), Vec::new());
    for version in BOTH {
        goods.push(returning(&server, Some(&good), version).await);
        bads.push(returning(&server, Some(&bad), version).await);
    }
    change(&server, "clients.crl", &clients.crl(&[&bad])).await;
    let address = server.place().address(6789);
    for _ in ["before a restart", "after it"] {
        for config in &bads {
            meet(address, SERVER_NAME, config).await.expect_err("revoked");
        }
        server.restart().await;
    }
    for config in &goods {
        assert!(!is_resumed(&server, config).await, "a full handshake, and it is served");
    }
    let failures = |metrics: &harness::Metrics| {
        metrics.sum("portcullis_tls_handshake_failures_total", &[("reason", "cert_revoked")])
    };
    server.metrics_when("all four are counted", |metrics| failures(metrics) == 4.0).await;
}

#[tokio::test]
async fn an_open_connection_of_a_revoked_client_is_ended_on_request() {
    let clients = Authority::new();
    let server = asking(&clients).flag("--end-revoked").start().await;
    let (good, bad) = (clients.client(), clients.client());
    let connect = async |client| {
        let config = server.authority().trusted_by(Some(client), Versions::Both);
        let mut client =
            Target::tls(server.place().address(6789), config).connect().await.expect("a connection");
        client.echo(1000).await.expect("served");
        client
    };
    let (mut good_client, mut bad_client) = (connect(&good).await, connect(&bad).await);
    change(&server, "clients.crl", &clients.crl(&[&bad])).await;
    bad_client.wait_for_end().await;
    good_client.echo(1000).await.expect("served on");
    let closed = |metrics: &harness::Metrics| {
        metrics.sum("portcullis_connections_closed_total", &[("reason", "revoked")])
    };
    server.metrics_when("it is counted as revoked", |metrics| closed(metrics) == 1.0).await;
}

#[tokio::test]
async fn only_identities_that_are_allowed_get_in() {
    let clients = Authority::new();
    for (rule, allowed) in [("cn=gatekeepers-friend", true), ("cn=somebody-else", false)] {
        let server = asking(&clients).option("--allow-identity", rule).start().await;
        let config = server.authority().trusted_by(Some(&clients.client()), Versions::Both);
        let met = meet(server.place().address(6789), SERVER_NAME, &config).await;
        assert_eq!(met.is_ok(), allowed, "{rule}: {met:?}");
        let denied = |metrics: &harness::Metrics| {
            metrics.sum("portcullis_tls_handshake_failures_total", &[("reason", "identity_denied")])
        };
        let wanted = if allowed { 0.0 } else { 1.0 };
        server.metrics_when("it is counted, if it was refused", |metrics| denied(metrics) == wanted).await;
    }
}
