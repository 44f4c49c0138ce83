//! What is sent comes back, byte for byte, over every kind of listener, and over several of one process at once.

use std::sync::Arc;

use harness::{
    Client, Echo, Exit, Kind, Target,
    certificates::{Authority, Versions},
};

/// Larger than all buffers in the way together, in bytes.
const LARGE: usize = 8 * 1024 * 1024;

async fn echoes(target: &Target) {
    let mut client = target.connect().await.expect("a connection");
    for length in [1, 2, 8191, 8192, 8193, 100_000, LARGE] {
        client.echo(length).await.unwrap_or_else(|fault| panic!("{length} bytes: {fault:?}"));
    }
    client.finish().await.expect("an orderly end");
}

/// Many clients at once do not get each other's bytes.
async fn keeps_clients_apart(target: &Target) {
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(target.connect().await.expect("a connection"));
    }
    let mut sent = Vec::new();
    for client in &mut clients {
        sent.push(client.send(1000).await.expect("bytes are taken"));
    }
    for (client, sent) in clients.iter_mut().zip(&sent).rev() {
        client.expect(sent).await.expect("its own bytes");
    }
}

async fn serves(kind: Kind) {
    let server = Echo::new(kind).start().await;
    echoes(server.target()).await;
    keeps_clients_apart(server.target()).await;
    assert_eq!(server.terminate().await, Exit::Code(0));
}

#[tokio::test]
async fn echoes_over_tcp() {
    serves(Kind::Tcp).await;
}

#[tokio::test]
async fn echoes_over_unix() {
    serves(Kind::Unix).await;
}

#[tokio::test]
async fn echoes_over_tls() {
    serves(Kind::Tls).await;
}

#[tokio::test]
async fn echoes_over_either_version_of_tls() {
    let server = Echo::new(Kind::Tls).start().await;
    let address = server.place().address(6789);
    for version in [Versions::Tls12, Versions::Tls13] {
        let config = server.authority().trusted_by(None, version);
        Target::tls(address, config)
            .visit(10_000)
            .await
            .unwrap_or_else(|fault| panic!("{version:?}: {fault:?}"));
    }
}

#[tokio::test]
async fn the_minimum_version_of_tls_is_kept() {
    let server = Echo::new(Kind::Tls).option("--tls-min-version", "TLSv1_3").start().await;
    let address = server.place().address(6789);
    let target = |version| Target::tls(address, server.authority().trusted_by(None, version));
    target(Versions::Tls13).visit(1000).await.expect("TLS 1.3");
    target(Versions::Tls12).connect().await.expect_err("TLS 1.2 is below the minimum");
}

#[tokio::test]
async fn a_stranger_does_not_trust_the_server() {
    let server = Echo::new(Kind::Tls).start().await;
    let stranger = Authority::new().trusted_by(None, Versions::Both);
    Target::tls(server.place().address(6789), stranger).connect().await.expect_err("an unknown authority");
    server.target().visit(1000).await.expect("others are served");
}

#[tokio::test]
async fn echoes_over_several_listeners_of_one_process() {
    let echo = Echo::new(Kind::Tcp);
    let second = echo.place().address(6790);
    let socket = echo.place().path("echo.sock");
    let mut server = echo
        .option("--bind", format!("tcp://{second}"))
        .option("--bind", format!("unix://{}", socket.display()))
        .start()
        .await;
    let targets = [server.target().clone(), Target::tcp(second), Target::Unix(socket)];
    for _ in 0..2 {
        for target in &targets {
            target.visit(10_000).await.unwrap_or_else(|fault| panic!("{target:?}: {fault:?}"));
        }
        // All of them are handed on.
        server.restart().await;
    }
}

#[tokio::test]
async fn echoes_with_a_self_signed_certificate() {
    let server = Echo::new(Kind::Tcp).flag("--tls-self-signed").start().await;
    // Nobody trusts it, which is how the client knows that there is TLS.
    let stranger = Arc::new(Authority::new()).trusted_by(None, Versions::Both);
    let refused =
        Target::tls(server.place().address(6789), stranger).connect().await.expect_err("nobody trusts it");
    assert!(format!("{refused:?}").contains("UnknownIssuer"), "{refused:?}");
}

#[tokio::test]
async fn echoes_on_a_port_of_every_ipv4_address() {
    // The kernel chooses it.
    let echo = Echo::bare();
    let admin = format!("tcp://{}", echo.admin());
    let server = echo.variable("PORT", "0").option("--admin", admin).start().await;
    let port = server.serving().port_at_every_address("tcp").expect("it listens");
    for ip in [[127, 0, 0, 1], [127, 9, 8, 7]] {
        Target::tcp((ip, port).into()).visit(1000).await.unwrap_or_else(|fault| panic!("{ip:?}: {fault:?}"));
    }
}

#[tokio::test]
async fn echoes_on_the_addresses_of_the_environment() {
    let echo = Echo::bare();
    let (first, second) = (echo.place().address(6789), echo.place().address(6790));
    let admin = format!("tcp://{}", echo.admin());
    let server = echo
        .variable("BIND", format!("tcp://{first},tcp://{second}"))
        .variable("ADMIN_BIND", admin)
        .start()
        .await;
    for address in [first, second] {
        let mut client: Client = Target::tcp(address).connect().await.expect("a connection");
        client.echo(1000).await.expect("an echo");
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}
