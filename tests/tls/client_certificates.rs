//! With a CA for clients, only those with a good certificate of it are served, in both versions of TLS.

use harness::{
    Authority, Echo, Kind, Server, Target,
    certificates::{Identity, Versions},
};

/// A server that asks for certificates, and the authority that vouches for clients.
async fn server() -> (Server, Authority) {
    let clients = Authority::new();
    let echo = Echo::new(Kind::Tls);
    let ca = echo.place().path("clients.crt");
    std::fs::write(&ca, clients.pem()).expect("a file of ours");
    let server = echo.option("--client-ca", &ca).flag("--verify-client").start().await;
    (server, clients)
}

fn target(server: &Server, client: Option<&Identity>, version: Versions) -> Target {
    Target::tls(server.place().address(6789), server.authority().trusted_by(client, version))
}

async fn is_served(server: &Server, client: &Identity) {
    for version in [Versions::Tls12, Versions::Tls13] {
        target(server, Some(client), version)
            .visit(1000)
            .await
            .unwrap_or_else(|fault| panic!("{version:?}: {fault:?}"));
    }
}

/// Refused in both versions, counted under this reason, and the service never saw the connection.
async fn is_refused(server: &Server, client: Option<&Identity>, reason: &str) {
    for version in [Versions::Tls12, Versions::Tls13] {
        let target = target(server, client, version);
        match target.connect().await {
            // In TLS 1.3 the client's handshake is over before the server has seen its certificate (RFC 8446, 2):
            // the refusal comes when it reads.
            Ok(mut connection) if version == Versions::Tls13 => {
                let _ = connection.send(10).await;
                assert_eq!(connection.wait_for_end().await, b"", "{reason}: not a byte comes back");
            }
            Ok(_) => panic!("{reason}: the handshake should have failed in {version:?}"),
            Err(_) => {}
        }
    }
    let failures = "portcullis_tls_handshake_failures_total";
    let what = format!("both are counted as {reason}");
    let metrics =
        server.metrics_when(&what, |metrics| metrics.sum(failures, &[("reason", reason)]) >= 2.0).await;
    assert_eq!(metrics.sum(failures, &[]), 2.0, "and as nothing else");
    assert_eq!(metrics.sum("portcullis_tls_handshakes_total", &[]), 0.0);
    assert_eq!(metrics.sum("portcullis_connections_closed_total", &[]), 0.0);
}

#[tokio::test]
async fn a_valid_client_certificate_is_accepted() {
    let (mut server, clients) = server().await;
    let client = clients.client();
    is_served(&server, &client).await;
    // By the next generation as well.
    server.restart().await;
    is_served(&server, &client).await;
}

#[tokio::test]
async fn a_client_without_a_certificate_is_rejected() {
    let (server, _clients) = server().await;
    is_refused(&server, None, "cert_missing").await;
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_rejected() {
    let (server, _clients) = server().await;
    is_refused(&server, Some(&Authority::new().client()), "cert_unknown_ca").await;
}

#[tokio::test]
async fn a_client_certificate_of_the_servers_authority_is_rejected() {
    let (server, _clients) = server().await;
    let client = server.authority().client();
    is_refused(&server, Some(&client), "cert_unknown_ca").await;
}

#[tokio::test]
async fn an_expired_client_certificate_is_rejected() {
    let (server, clients) = server().await;
    is_refused(&server, Some(&clients.expired_client()), "cert_expired").await;
}

#[tokio::test]
async fn a_certificate_for_servers_is_rejected() {
    let (server, clients) = server().await;
    is_refused(&server, Some(&clients.server()), "cert_usage").await;
}

#[tokio::test]
async fn the_environment_requires_client_certificates() {
    let clients = Authority::new();
    let echo = Echo::new(Kind::Tls);
    let ca = echo.place().path("clients.crt");
    std::fs::write(&ca, clients.pem()).expect("a file of ours");
    let server = echo
        .variable("CLIENT_TLS_CERTIFICATE_CA", &ca)
        .variable("VERIFY_CLIENT_TLS_CERTIFICATE", "true")
        .start()
        .await;
    is_served(&server, &clients.client()).await;
    target(&server, None, Versions::Tls12).connect().await.expect_err("no certificate");
}
