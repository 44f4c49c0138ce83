//! `TERM` and `INT` end the server gracefully: no new connection, the open ones to their end or to the deadline, exit
//! status 0. A second one ends it at once, with 1.

use std::time::{Duration, Instant};

use harness::{Client, Echo, Exit, Fault, Kind, Server, Signal, Target, until};
use nix::{sys::stat::Mode, unistd::mkfifo};
use portcullis::faults::Point;

/// Longer than any test runs: what ends earlier was not ended by the deadline.
const NO_DEADLINE: &str = "600s";

async fn server(kind: Kind, deadline: &str) -> Server {
    Echo::new(kind).option("--drain-timeout", deadline).start().await
}

async fn connected(target: &Target) -> Client {
    let mut client = target.connect().await.expect("a connection");
    client.echo(100).await.expect("an echo");
    client
}

/// Waits until nobody listens any more.
async fn nobody_listens(target: &Target) {
    until("new connections are refused", async || match target.connect().await {
        Err(Fault::Refused(_)) => Ok(()),
        // One that came in at the last moment is served, or ends.
        other => Err(other.map(drop)),
    })
    .await;
}

async fn waits_for_its_clients(kind: Kind, signal: Signal) {
    let server = server(kind, NO_DEADLINE).await;
    let mut idle = connected(server.target()).await;
    let mut busy = connected(server.target()).await;
    let sent = busy.send(20_000).await.expect("bytes are taken");

    server.serving().signal(signal);
    nobody_listens(server.target()).await;

    busy.expect(&sent).await.expect("what was on its way arrives");
    busy.echo(500_000).await.expect("and it goes on");
    busy.finish().await.expect("an orderly end");
    idle.echo(100).await.expect("an idle connection is kept");
    assert!(!server.serving().is_over(), "a client is there");
    idle.finish().await.expect("an orderly end");
    assert_eq!(server.serving().ended().await, Exit::Code(0));
    assert!(!server.pid_file().exists(), "the pid file goes with the last process");
}

#[tokio::test]
async fn term_waits_for_tcp_clients() {
    waits_for_its_clients(Kind::Tcp, Signal::TERM).await;
}

#[tokio::test]
async fn term_waits_for_tls_clients() {
    waits_for_its_clients(Kind::Tls, Signal::TERM).await;
}

#[tokio::test]
async fn term_waits_for_unix_clients() {
    waits_for_its_clients(Kind::Unix, Signal::TERM).await;
}

#[tokio::test]
async fn int_drains_as_term_does() {
    waits_for_its_clients(Kind::Tcp, Signal::INT).await;
}

#[tokio::test]
async fn without_clients_term_ends_the_server_at_once() {
    let server = server(Kind::Tcp, NO_DEADLINE).await;
    assert_eq!(server.terminate().await, Exit::Code(0));
}

#[tokio::test]
async fn the_deadline_ends_what_is_left() {
    let server = server(Kind::Tcp, "1s").await;
    let mut idle = connected(server.target()).await;
    let begun = Instant::now();
    server.serving().signal(Signal::TERM);
    assert_eq!(idle.wait_for_end().await, b"");
    assert!(begun.elapsed() >= Duration::from_secs(1), "not before the deadline: {:?}", begun.elapsed());
    assert_eq!(server.serving().ended().await, Exit::Code(0));
}

#[tokio::test]
async fn the_deadline_of_the_environment_counts() {
    let server = Echo::new(Kind::Tcp).variable("DRAIN_TIMEOUT", "500ms").start().await;
    let _idle = connected(server.target()).await;
    assert_eq!(server.terminate().await, Exit::Code(0));
}

#[tokio::test]
async fn a_handed_off_process_has_the_deadline_too() {
    let mut server = server(Kind::Tcp, "1s").await;
    let mut idle = connected(server.target()).await;
    let predecessor = server.restart().await;
    assert_eq!(idle.wait_for_end().await, b"");
    assert_eq!(predecessor.ended().await, Exit::Code(0));
    server.target().visit(100).await.expect("the successor serves");
}

#[tokio::test]
async fn a_second_term_ends_the_server_at_once() {
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)]
    {
        let server = server(Kind::Tcp, NO_DEADLINE).await;
        let mut idle = connected(server.target()).await;
        server.serving().signal(first);
        nobody_listens(server.target()).await;
        idle.echo(100).await.expect("the first one is graceful");
        server.serving().signal(second);
        assert_eq!(server.serving().ended().await, Exit::Code(1));
        assert_eq!(idle.wait_for_end().await, b"");
    }
}

#[tokio::test]
async fn the_admin_port_reports_the_drain() {
    let server = server(Kind::Tcp, NO_DEADLINE).await;
    let idle = connected(server.target()).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    server.serving().signal(Signal::TERM);
    until("503 while draining", async || match server.get("/readyz").await {
        answer if answer.status == 503 => Ok(()),
        answer => Err(answer),
    })
    .await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("portcullis_draining", &[]), 1.0);
    assert_eq!(server.get("/healthz").await.status, 200, "it is alive, though");
    idle.finish().await.expect("an orderly end");
    assert_eq!(server.serving().ended().await, Exit::Code(0));
}

#[tokio::test]
async fn term_during_a_restart_ends_the_successor_too() {
    let (echo, script, again) = Echo::new(Kind::Tcp).option("--drain-timeout", NO_DEADLINE).start_script();
    let server = echo.start().await;
    let gate = server.place().path("gate");
    mkfifo(&gate, Mode::S_IRWXU).expect("a directory of ours");
    script.write(&format!("read _ < {}\n{again}", gate.display()));
    let start = server.log().len();
    server.serving().signal(Signal::USR1);
    server.serving().only_child().await;

    let mut idle = connected(server.target()).await;
    server.serving().signal(Signal::TERM);
    let cancelled = |line: &str| line.contains("restart failed") && line.contains("cancelled");
    server.log().wait_from(start, "restart failed, cancelled", cancelled).await;
    server.serving().no_child_left().await;
    idle.echo(100).await.expect("the drain is graceful");
    idle.finish().await.expect("an orderly end");
    assert_eq!(server.serving().ended().await, Exit::Code(0));
    assert_eq!(server.processes(), [0; 0], "nobody took over");
}

/// Both are seen at the same moment, before anything could be done about the first.
#[tokio::test]
async fn two_terms_during_a_restart_leave_no_process() {
    let (echo, faults) = Echo::new(Kind::Tcp).faults();
    let server = echo.start().await;
    faults.stop(Point::Inherited, || server.serving().signal(Signal::USR1)).await;

    let _idle = connected(server.target()).await;
    for signal in [Signal::STOP, Signal::TERM, Signal::INT, Signal::CONT] {
        server.serving().signal(signal);
    }
    assert_eq!(server.serving().ended().await, Exit::Code(1));
    until("the successor is gone as well", async || match server.processes() {
        none if none.is_empty() => Ok(()),
        left => Err(left),
    })
    .await;
    assert!(!server.pid_file().exists(), "nobody serves");
}

#[tokio::test]
async fn the_first_term_after_a_handoff_is_graceful() {
    let mut server = server(Kind::Tcp, NO_DEADLINE).await;
    let mut idle = connected(server.target()).await;
    let predecessor = server.restart().await;

    let start = server.log().len();
    predecessor.signal(Signal::TERM);
    server.log().wait_from(start, "that TERM was received", |line| line.contains("TERM")).await;
    for _ in 0..20 {
        idle.echo(100).await.expect("the drain is graceful as before");
    }
    predecessor.signal(Signal::TERM);
    assert_eq!(predecessor.ended().await, Exit::Code(1));
    idle.wait_for_end().await;

    server.target().visit(100).await.expect("the successor has nothing to do with it");
    assert_eq!(server.pid_in_file(), server.serving().pid());
    assert_eq!(server.terminate().await, Exit::Code(0));
}
