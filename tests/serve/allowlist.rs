//! Peers from other networks are turned away before a byte is read, and an IPv4 peer of a dual-stack socket is
//! judged by its IPv4 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use harness::{Echo, Kind, Server, Target, until};

const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 4);
const DENIED: Ipv4Addr = Ipv4Addr::new(127, 9, 3, 4);

async fn is_let_in(target: &Target) {
    target.visit(1000).await.unwrap_or_else(|fault| panic!("{target:?} should be let in: {fault:?}"));
}

async fn is_turned_away(target: &Target) {
    // The connection is complete before the server knows of it; the end comes after.
    let Ok(mut client) = target.connect().await else { return };
    let _ = client.send(10).await;
    assert_eq!(client.wait_for_end().await, b"", "{target:?} should be turned away");
}

async fn turned_away(server: &Server, times: f64) {
    let name = "portcullis_connections_rejected_total";
    let what = "everyone who was turned away is counted";
    let metrics =
        server.metrics_when(what, |metrics| metrics.sum(name, &[("reason", "address")]) >= times).await;
    assert_eq!(metrics.sum(name, &[("reason", "address")]), times);
    assert_eq!(metrics.sum(name, &[]), times);
}

#[tokio::test]
async fn a_network_is_allowed() {
    let mut server = Echo::new(Kind::Tcp).option("--allow", "10.0.0.0/8, 127.0.0.0/16,::1").start().await;
    let target = server.target().clone();
    for times in [1.0, 2.0] {
        is_let_in(&target.clone().from(ALLOWED)).await;
        is_turned_away(&target.clone().from(DENIED)).await;
        is_let_in(&target.clone().from(ALLOWED)).await;
        turned_away(&server, times).await;
        // The next generation judges as this one did.
        server.restart().await;
    }
}

#[tokio::test]
async fn a_single_address_is_allowed() {
    let server = Echo::new(Kind::Tcp).option("--allow", ALLOWED.to_string()).start().await;
    is_let_in(&server.target().clone().from(ALLOWED)).await;
    is_turned_away(&server.target().clone().from(Ipv4Addr::new(127, 0, 3, 5))).await;
}

#[tokio::test]
async fn the_environment_names_networks() {
    let server = Echo::new(Kind::Tcp).variable("ALLOWED_NETWORKS", "127.0.0.0/16").start().await;
    is_let_in(&server.target().clone().from(ALLOWED)).await;
    is_turned_away(&server.target().clone().from(DENIED)).await;
}

#[tokio::test]
async fn loopback_is_allowed_where_nothing_is_said() {
    let server = Echo::new(Kind::Tcp).start().await;
    is_let_in(server.target()).await;
    is_let_in(&server.target().clone().from(DENIED)).await;
}

#[tokio::test]
async fn no_handshake_is_spent_on_a_peer_that_is_denied() {
    let server = Echo::new(Kind::Tls).option("--allow", "127.0.0.0/16").start().await;
    is_let_in(&server.target().clone().from(ALLOWED)).await;
    server.target().clone().from(DENIED).connect().await.expect_err("the peer is denied");
    turned_away(&server, 1.0).await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("portcullis_tls_handshakes_total", &[]), 1.0);
    assert_eq!(metrics.sum("portcullis_tls_handshake_failures_total", &[]), 0.0);
}

/// A dual-stack server on a port that the kernel chose, and the port. `None` where there is no IPv6.
async fn dual_stack(allow: &str) -> Option<(Server, u16)> {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("this machine has no IPv6: nothing to see here");
        return None;
    }
    let echo = Echo::bare();
    let admin = format!("tcp://{}", echo.admin());
    let server =
        echo.option("--bind", "tcp://[::]:0").option("--admin", admin).option("--allow", allow).start().await;
    let what = "the server listens on IPv6";
    let port =
        until(what, async || server.serving().port_at_every_address("tcp6").ok_or("no socket in LISTEN"))
            .await;
    Some((server, port))
}

fn at(ip: impl Into<IpAddr>, port: u16) -> Target {
    Target::tcp(SocketAddr::new(ip.into(), port))
}

#[tokio::test]
async fn an_ipv4_peer_of_a_dual_stack_socket_matches_its_ipv4_network() {
    let Some((mut server, port)) = dual_stack("127.0.0.0/8").await else { return };
    // A port that the kernel chose is kept as well.
    for _ in 0..2 {
        is_let_in(&at(Ipv4Addr::LOCALHOST, port)).await;
        is_turned_away(&at(Ipv6Addr::LOCALHOST, port)).await;
        server.restart().await;
    }
}

#[tokio::test]
async fn an_ipv4_peer_of_a_dual_stack_socket_matches_no_ipv6_network() {
    let Some((_server, port)) = dual_stack("::/0").await else { return };
    is_let_in(&at(Ipv6Addr::LOCALHOST, port)).await;
    is_turned_away(&at(Ipv4Addr::LOCALHOST, port)).await;
}
