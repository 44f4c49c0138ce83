//! Protocol 1 of the handoff is spoken for ever: a real server and the golden transcripts understand each other, on either
//! side, also where a version to come says more; and versions that have nothing in common part before anything has changed.

use std::path::Path;

use harness::{Echo, Kind, Load, Server, Signal, Target, program, within};
use tokio::io::AsyncReadExt;

const GOLDEN: &str = "protocol-1.transcript";
const EXTENDED: &str = "protocol-1-extended.transcript";

fn script(file: &str, section: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    format!("{}:{section}", file.to_str().expect("a path of text"))
}

/// A server whose successor is played from the transcript. `versions`: those that it says it speaks, instead of the golden ones.
async fn before_a_scripted_successor(file: &str, section: &str, versions: Option<&str>) -> Server {
    let mut echo = Echo::new(Kind::Tcp)
        .option("--start-command", program("scripted_peer"))
        .variable("SCRIPT", script(file, section));
    if let Some(versions) = versions {
        echo = echo.variable("VERSIONS", versions);
    }
    echo.start().await
}

async fn restart_says(server: &Server, outcome: &str) -> String {
    let start = server.log().len();
    server.serving().signal(Signal::USR1);
    server.log().wait_from(start, outcome, |line| line.contains(outcome)).await
}

/// What the server says to whoever connects, without being asked.
async fn greeting(target: &Target) -> String {
    let Target::Tcp { to: address, .. } = target else { panic!("only over TCP") };
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("somebody listens");
    let mut said = String::new();
    within("what it says", stream.read_to_string(&mut said)).await.expect("a stream");
    said
}

async fn serves(server: &Server) {
    let load = Load::on(server.target());
    load.more(10).await;
    load.stop().await.assert_clean(10);
}

async fn succeeds(file: &str, versions: Option<&str>) {
    let server = before_a_scripted_successor(file, "settled", versions).await;
    restart_says(&server, "restart succeeded").await;
    assert_eq!(greeting(server.target()).await, "the scripted peer\n");
    server.serving().ended().await;
    assert_eq!(greeting(server.target()).await, "the scripted peer\n");
}

#[tokio::test]
async fn a_successor_of_protocol_1_takes_over() {
    succeeds(GOLDEN, None).await;
}

#[tokio::test]
async fn a_newer_successor_that_still_speaks_it_takes_over() {
    succeeds(EXTENDED, Some("1..9")).await;
}

#[tokio::test]
async fn a_sick_successor_of_protocol_1_is_rolled_back() {
    let server = before_a_scripted_successor(GOLDEN, "sick", None).await;
    let failure = restart_says(&server, "restart failed").await;
    assert!(failure.contains("rolled_back") && failure.contains("health check"), "{failure}");
    serves(&server).await;
}

async fn is_refused(versions: &str) {
    let server = before_a_scripted_successor(GOLDEN, "settled", Some(versions)).await;
    let mut load = Load::on(server.target());
    load.hold().await;
    let failure = restart_says(&server, "restart failed").await;
    assert!(failure.contains("rejected") && failure.contains("protocol"), "{failure}");
    // It never stopped accepting.
    load.more(10).await;
    load.stop().await.assert_clean(10);
    server.serving().no_child_left().await;
    assert_eq!(server.pid_in_file(), server.serving().pid());
}

#[tokio::test]
async fn a_successor_that_is_too_new_is_refused() {
    is_refused("2..9").await;
}

#[tokio::test]
async fn a_successor_that_is_too_old_is_refused() {
    is_refused("0..0").await;
}

/// A real server that is started by a predecessor which is played from the transcript.
async fn after_a_scripted_predecessor(file: &str, section: &str, versions: Option<&str>) -> Server {
    let mut echo = Echo::new(Kind::Tcp)
        .program(program("scripted_peer"))
        .variable("SUCCESSOR", program("echo"))
        .variable("SCRIPT", script(file, section));
    if let Some(versions) = versions {
        echo = echo.variable("VERSIONS", versions);
    }
    echo.start().await
}

async fn says(server: &Server, words: &str) {
    server.log().wait_from(0, words, |line| line.contains(words)).await;
}

#[tokio::test]
async fn a_predecessor_of_protocol_1_is_succeeded() {
    let server = after_a_scripted_predecessor(GOLDEN, "settled", None).await;
    says(&server, "serving generation=4").await;
    says(&server, "scripted peer: done").await;
    serves(&server).await;
}

#[tokio::test]
async fn a_newer_predecessor_that_still_speaks_it_is_succeeded() {
    let server = after_a_scripted_predecessor(EXTENDED, "settled", Some("1..9")).await;
    says(&server, "serving generation=4").await;
    says(&server, "scripted peer: surplus descriptors are closed").await;
    serves(&server).await;
}

#[tokio::test]
async fn an_abort_of_protocol_1_is_obeyed() {
    for file in [GOLDEN, EXTENDED] {
        let server = after_a_scripted_predecessor(file, "aborted", None).await;
        says(&server, "the predecessor cancelled the restart").await;
        says(&server, "scripted peer: the successor ended").await;
        assert_eq!(server.log().count_from(0, |line| line.contains("serving generation=4")), 0);
    }
}

async fn does_not_succeed(versions: &str) {
    let server = after_a_scripted_predecessor(GOLDEN, "settled", Some(versions)).await;
    says(&server, "protocol error of the predecessor in step `manifest`").await;
    says(&server, "scripted peer: heard the end instead of claim").await;
}

#[tokio::test]
async fn a_predecessor_that_is_too_new_is_not_succeeded() {
    does_not_succeed("2..9").await;
}

#[tokio::test]
async fn a_predecessor_that_is_too_old_is_not_succeeded() {
    does_not_succeed("0..0").await;
}
