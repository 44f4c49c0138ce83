//! A process that somebody else starts finds the server by its control path and takes over its sockets: not one client is
//! refused, reset, cut short or given a wrong byte.

use std::{fs, path::Path};

use harness::{Client, Echo, Exit, Kind, Load, Server, Signal, copy_program, inode};

/// A client that is in the middle of something.
async fn amid(server: &Server) -> (Client, Vec<u8>) {
    let mut client = server.target().connect().await.expect("a connection");
    let sent = client.send(50_000).await.expect("bytes are taken");
    (client, sent)
}

async fn lossless(kind: Kind) {
    let echo = Echo::new(kind).controlled();
    let first = echo.clone().start().await;
    let ours = inode(&first.control());
    let mut load = Load::on(first.target());
    load.hold().await;
    load.more(20).await;
    let (mut client, sent) = amid(&first).await;

    let second = echo.clone().take_over(2).await;
    assert_eq!(first.pid_in_file(), second.serving().pid(), "the pid file names who serves");
    load.more(20).await;
    client.expect(&sent).await.expect("what was on its way arrives");
    client.finish().await.expect("an orderly end");
    assert!(!first.serving().is_over(), "it still has a client");

    // And so does the next.
    let third = echo.take_over(3).await;
    load.more(20).await;
    let metrics = third.metrics().await;
    assert_eq!(metrics.sum("portcullis_generation", &[]), 3.0);
    assert!(metrics.sum("portcullis_restarts_total", &[("result", "succeeded")]) >= 1.0);

    load.stop().await.assert_clean(60);
    for earlier in [&first, &second] {
        assert_eq!(earlier.serving().ended().await, Exit::Code(0));
    }
    assert_eq!(inode(&third.control()), ours, "the path never changed");
    assert!(third.ctl(&["status"]).await.done().contains("serving: generation 3"));
    assert_eq!(third.terminate().await, Exit::Code(0));
    assert!(!third.control().exists() && !third.pid_file().exists(), "nobody serves");
}

#[tokio::test]
async fn a_takeover_over_tcp_loses_no_connection() {
    lossless(Kind::Tcp).await;
}

#[tokio::test]
async fn a_takeover_over_unix_loses_no_connection() {
    lossless(Kind::Unix).await;
}

#[tokio::test]
async fn a_takeover_over_tls_loses_no_connection() {
    lossless(Kind::Tls).await;
}

/// Another program file, another directory, other arguments: all of it is what the next restart starts.
#[tokio::test]
async fn a_process_with_other_arguments_can_take_over() {
    let echo = Echo::new(Kind::Tcp).controlled();
    let program = echo.place().path("new-version");
    copy_program(&harness::program("echo"), &program);
    let first = echo.clone().start().await;
    let load = Load::on(first.target());
    load.more(10).await;

    let extra = echo.place().path("extra.sock");
    let other = echo.program(&program).directory("/").option("--log-level", "debug");
    let other = other.option("--bind", format!("unix://{}", extra.display()));
    let mut second = other.take_over(2).await;
    assert_eq!(first.serving().ended().await, Exit::Code(0));
    assert_eq!(second.serving().program(), program);

    // By a signal, and over the control path.
    second.restart().await.ended().await;
    second.ctl(&["restart"]).await.done();
    second.follow().await.ended().await;
    assert_eq!(second.serving().program(), program);
    assert!(extra.exists(), "it is listened on");
    load.more(10).await;
    load.stop().await.assert_clean(20);
}

/// Restarts and takeovers, in turn.
#[tokio::test]
async fn takeovers_and_restarts_alternate() {
    let echo = Echo::new(Kind::Tcp).controlled();
    let mut first = echo.clone().start().await;
    let load = Load::on(first.target());
    first.restart().await.ended().await;
    let mut second = echo.clone().take_over(3).await;
    assert_eq!(first.serving().ended().await, Exit::Code(0));
    second.restart().await.ended().await;
    let third = echo.take_over(5).await;
    assert_eq!(second.serving().ended().await, Exit::Code(0));
    load.more(10).await;
    load.stop().await.assert_clean(10);
    third.serving().no_child_left().await;
}

/// Of two that are started at the same time one is the first, and the other its successor.
#[tokio::test]
async fn two_that_start_at_once_take_over_in_turn() {
    for _ in 0..5 {
        let echo = Echo::new(Kind::Tcp).controlled();
        let (one, other) = tokio::join!(echo.clone().start_or_take_over(), echo.start_or_take_over());
        let (first, second) = if one.generation() == 1 { (one, other) } else { (other, one) };
        assert_eq!((first.generation(), second.generation()), (1, 2));
        assert_eq!(first.serving().ended().await, Exit::Code(0));
        second.target().visit(1000).await.expect("it serves");
    }
}

/// Whoever waits to be heard by a server that dies begins anew.
#[tokio::test]
async fn a_server_that_dies_before_it_answers_is_replaced() {
    let echo = Echo::new(Kind::Tcp).controlled();
    let first = echo.clone().start().await;
    first.serving().signal(Signal::STOP);
    let starting = tokio::spawn(echo.start_or_take_over());
    harness::until("somebody waits in the queue", async || match waiting(&first.control()) {
        0 => Err(()),
        _ => Ok(()),
    })
    .await;
    first.serving().signal(Signal::KILL);
    let second = starting.await.expect("no panic");
    assert_eq!(second.generation(), 1);
    second.target().visit(1000).await.expect("it serves");
}

/// Connections to a Unix socket that were not accepted: those that are established and belong to no process yet.
fn waiting(path: &Path) -> usize {
    // Num RefCount Protocol Flags Type St Inode Path (proc(5)); 03 is SS_CONNECTED, and inode 0 is not accepted.
    let table = fs::read_to_string("/proc/net/unix").expect("/proc");
    let path = path.to_str().expect("text");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.last() == Some(&path) && fields[5] != "01" && fields[6] == "0")
        .count()
}
