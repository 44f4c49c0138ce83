//! Whoever asks over the control path learns what came of it, by an exit code and in words, whatever it is.

use std::path::{Path, PathBuf};

use harness::{Ctl, Echo, Exit, Kind, Load, Server, Signal, Told, counter::Counter, until};
use nix::{sys::stat::Mode, unistd::mkfifo};

use super::clients::{frame, said_to};

#[tokio::test]
async fn a_restart_that_succeeds_is_reported() {
    let mut server = Echo::new(Kind::Tcp).controlled().start().await;
    let load = Load::on(server.target());
    for generation in 2..=4 {
        let told = server.ctl(&["restart"]).await;
        let predecessor = server.follow().await;
        let pid = server.serving().pid();
        let says = format!("restarted: process {pid} serves as generation {generation}");
        assert!(told.done().contains(&says), "{told:?}");
        assert_eq!(predecessor.ended().await, Exit::Code(0));
    }
    let json = server.ctl(&["restart", "--json"]).await.json();
    server.follow().await;
    assert_eq!((json["result"].as_str(), json["generation"].as_u64()), (Some("succeeded"), Some(5)));
    assert_eq!(json["pid"].as_u64(), Some(u64::from(server.serving().pid())));
    assert!(json["took_seconds"].as_f64().is_some_and(|took| took > 0.0), "{json}");
    load.more(10).await;
    load.stop().await.assert_clean(10);
}

#[tokio::test]
async fn a_restart_that_fails_is_reported() {
    let (echo, script, again) = Echo::new(Kind::Tcp).controlled().start_script();
    let mut server = echo.start().await;
    let load = Load::on(server.target());

    script.write("exit 3");
    server.ctl(&["restart"]).await.failed(&["crashed", "exit status: 3", "hello", "control.sock"]);
    let told = server.ctl(&["restart", "--json"]).await;
    told.failed(&["crashed"]);
    let json = told.json();
    assert_eq!(json["result"].as_str(), Some("crashed"));
    assert!(json["reason"].as_str().is_some_and(|reason| reason.contains("exit status: 3")), "{json}");
    script.remove();
    server.ctl(&["restart"]).await.failed(&["spawn_failed", "No such file"]);

    script.write(&again);
    server.ctl(&["restart"]).await.done();
    server.follow().await;
    load.more(10).await;
    load.stop().await.assert_clean(10);
}

/// A start script that waits at this gate.
pub(crate) fn gated(echo: &Echo, again: &str) -> (PathBuf, String) {
    let gate = echo.place().path("gate");
    mkfifo(&gate, Mode::S_IRWXU).expect("a directory of ours");
    let script = format!("read _ < {}\n{again}", gate.display());
    (gate, script)
}

/// Opening a fifo waits for the reader, and a reader whose writer is gone reads an empty line.
pub(crate) async fn open(gate: &Path) {
    say("\n", gate).await;
}

async fn say(word: &'static str, gate: &Path) {
    let gate = gate.to_owned();
    let open = tokio::task::spawn_blocking(move || std::fs::write(gate, word));
    harness::within("the gate opens", open).await.expect("no panic").expect("the reader is there");
}

/// Asks for a restart while one is under way, and returns when it is remembered.
async fn ask_meanwhile(server: &Server) -> impl Future<Output = Told> + use<> {
    let start = server.log().len();
    let asking = Ctl::new(server.control()).start(&["restart"]);
    let remembered = |line: &str| line.contains("a restart is requested, and follows the one under way");
    server.log().wait_from(start, "a restart is remembered", remembered).await;
    asking
}

/// Also while one is under way: the second follows it, once for all that ask, and each client learns
/// the outcome of the restart that ran for it.
#[tokio::test]
async fn two_restarts_at_once_are_reported() {
    let (echo, script, again) = Echo::new(Kind::Tcp).controlled().start_script();
    let (gate, waiting) = gated(&echo, &again);
    let mut server = echo.start().await;
    script.write(&waiting);

    let first = Ctl::new(server.control()).start(&["restart"]);
    let successor = server.serving().only_child().await;
    let second = ask_meanwhile(&server).await;
    let third = ask_meanwhile(&server).await;
    assert!(server.ctl(&["status"]).await.done().contains("serving: generation 1"));
    assert_eq!(server.serving().children(), [successor], "the one restart goes on, and no other");

    // What is started from now on is another program: the newest one runs in the end.
    let newest = server.place().path("newest");
    script.write(&format!("touch {}\n{waiting}", newest.display()));
    open(&gate).await;
    let told = harness::within("the end of ctl", first).await;
    let says = format!("restarted: process {successor} serves as generation 2");
    assert!(told.done().contains(&says), "{told:?}");
    server.follow().await;
    assert_eq!(server.serving().pid(), successor);
    open(&gate).await;
    server.follow().await;
    let says = format!("restarted: process {} serves as generation 3", server.serving().pid());
    for asked in [second, third] {
        let told = harness::within("the end of ctl", asked).await;
        assert!(told.done().contains(&says), "{told:?}");
    }
    assert!(newest.exists(), "the newest program runs");
    server.alone().await;
    assert!(server.ctl(&["status"]).await.done().contains("serving: generation 3"), "and no restart follows");
    assert_eq!(server.terminate().await, Exit::Code(0));
}

/// The restart that follows fails. It was passed on, and its outcome is reported nevertheless.
#[tokio::test]
async fn a_restart_that_follows_and_fails_is_reported() {
    let (echo, script, again) = Echo::new(Kind::Tcp).controlled().start_script();
    let (gate, waiting) = gated(&echo, &again);
    let mut server = echo.start().await;
    script.write(&waiting);
    let first = Ctl::new(server.control()).start(&["restart"]);
    server.serving().only_child().await;
    let second = ask_meanwhile(&server).await;
    script.write("exit 3");
    open(&gate).await;
    harness::within("the end of ctl", first).await.done();
    server.follow().await;
    harness::within("the end of ctl", second).await.failed(&["crashed", "exit status: 3"]);
    let failed = server.log().count_from(0, |line| line.contains("restart failed"));
    assert_eq!(failed, 1, "it ran once");
    assert!(server.ctl(&["status"]).await.done().contains("serving: generation 2"));
}

/// The successor serves, and dies in its probation. Until then it answers, and remembers a request;
/// who asked it learns that it died.
#[tokio::test]
async fn a_rollback_is_reported() {
    let mut server = Echo::new(Kind::Tcp).controlled().probation("30s").start().await;
    let load = Load::on(server.target());
    let first = server.serving().pid();
    let restarting = Ctl::new(server.control()).start(&["restart"]);
    server.follow().await;
    assert!(server.ctl(&["status"]).await.done().contains("serving: generation 2"));
    let second = ask_meanwhile(&server).await;
    server.serving().signal(Signal::KILL);
    let told = harness::within("the end of ctl", restarting).await;
    told.failed(&["rolled_back", "accepts again"]);
    harness::within("the end of ctl", second).await.failed(&["without an answer"]);

    let status = server.ctl(&["status", "--json"]).await.json();
    assert_eq!((&status["generation"], &status["pid"]), (&1.into(), &first.into()));
    load.more(10).await;
    load.stop().await;
}

/// A request that the predecessor has remembered runs after the rollback.
#[tokio::test]
async fn a_restart_that_follows_a_rollback_is_reported() {
    let (echo, script, again) = Echo::new(Kind::Tcp).controlled().probation("30s").start_script();
    let (gate, waiting) = gated(&echo, &again);
    let mut server = echo.start().await;
    script.write(&waiting);
    let first = Ctl::new(server.control()).start(&["restart"]);
    server.serving().only_child().await;
    let second = ask_meanwhile(&server).await;
    script.write(&again.replace("--probation 30s", "--probation 0s"));
    open(&gate).await;
    let predecessor = server.follow().await;
    let successor = server.serving().pid();
    server.serving().signal(Signal::KILL);
    harness::within("the end of ctl", first).await.failed(&["rolled_back", "accepts again"]);
    let told = harness::within("the end of ctl", second).await;
    assert!(told.done().contains("serves as generation 2"), "{told:?}");
    assert!(!told.done().contains(&format!("process {successor} ")), "{told:?}");
    assert_eq!(predecessor.ended().await, Exit::Code(0));
}

/// A request that an unhealthy successor has remembered is moved to its predecessor, and runs there.
#[tokio::test]
async fn a_restart_that_was_asked_of_an_unhealthy_successor_is_reported() {
    let (counter, moods) = Counter::new("well");
    let (gate, waiting) = counter.gate();
    let server = counter.controlled().start().await;
    moods.is(&waiting);
    let start = server.log().len();
    let first = Ctl::new(server.control()).start(&["restart"]);
    server.log().wait_from(start, "it serves", |line| line.contains("serving generation=2")).await;
    let second = ask_meanwhile(&server).await;
    moods.is("well");
    say("sick", &gate).await;
    harness::within("the end of ctl", first).await.failed(&["rolled_back", "sick"]);
    let told = harness::within("the end of ctl", second).await;
    assert!(told.done().contains("serves as generation 2"), "{told:?}");
    assert_eq!(server.serving().ended().await, Exit::Code(0));
}

/// However late a client repeats a request that was passed on: it learns the outcome, and no other
/// restart begins.
#[tokio::test]
async fn a_request_that_was_passed_on_starts_no_second_restart() {
    let (echo, script, _) = Echo::new(Kind::Tcp).controlled().probation("1s").start_script();
    let mut server = echo.start().await;
    let asked = async |server: &Server, generation: u64| {
        let request = format!(r#"{{"type":"request","command":"restart","passed_on_to":{generation}}}"#);
        String::from_utf8_lossy(&said_to(&server.control(), &frame(&request)).await[4..]).into_owned()
    };
    server.serving().signal(Signal::USR1);
    let first = server.follow().await;
    // It is on probation. The restart that made it is successful when that is over.
    let answer = asked(&server, 1).await;
    let says = format!(r#"{{"type":"restarted","pid":{},"generation":2,"#, server.serving().pid());
    assert!(answer.starts_with(&says), "{answer}");
    assert_eq!(first.ended().await, Exit::Code(0));
    assert!(asked(&server, 1).await.starts_with(&says), "also afterwards");

    script.write("exit 3");
    server.ctl(&["restart"]).await.failed(&["crashed"]);
    let answer = asked(&server, 2).await;
    assert!(answer.starts_with(r#"{"type":"failed","result":"crashed","#), "{answer}");
    let begun = server.log().count_from(0, |line| line.contains("restart requested"));
    assert_eq!(begun, 2, "one that succeeded, one that failed");
}

#[tokio::test]
async fn the_end_of_a_drain_is_reported() {
    let server = Echo::new(Kind::Tcp).controlled().start().await;
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(10).await.expect("an echo");

    let draining = Ctl::new(server.control()).start(&["drain"]);
    until("it says that it drains", async || {
        let told = server.ctl(&["status"]).await;
        if told.done().contains("draining: generation 1") { Ok(()) } else { Err(told) }
    })
    .await;
    assert!(!server.serving().is_over(), "it still has a client");
    server.ctl(&["restart"]).await.failed(&["refused", "does not serve"]);
    client.echo(10).await.expect("it finishes");
    client.finish().await.expect("an orderly end");
    let told = harness::within("the end of ctl", draining).await;
    assert!(told.done().contains("every connection came to its end"), "{told:?}");
    assert_eq!(server.serving().ended().await, Exit::Code(0));
    assert!(!server.control().exists(), "nobody serves");
}

#[tokio::test]
async fn a_drain_that_closes_connections_is_reported() {
    let server = Echo::new(Kind::Tcp).controlled().option("--drain-timeout", "100ms").start().await;
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(10).await.expect("an echo");
    let json = server.ctl(&["drain", "--json"]).await.json();
    assert_eq!(json["forced"].as_u64(), Some(1));
    assert_eq!(server.serving().ended().await, Exit::Code(0));
}

#[tokio::test]
async fn the_status_is_reported() {
    let mut server = Echo::new(Kind::Tcp).controlled().start().await;
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(1000).await.expect("an echo");

    let status = server.ctl(&["status", "--json"]).await.json();
    assert_eq!(status["phase"], "serving");
    assert_eq!(status["generation"], 1);
    assert_eq!(status["pid"], server.serving().pid());
    assert_eq!(status["connections"], 1);
    assert!(status["uptime_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{status}");
    let listeners = status["listeners"].as_array().expect("a list");
    for (name, address) in [
        ("admin", format!("tcp://{}", server.admin())),
        ("control", { format!("unix://{}", server.control().display()) }),
    ] {
        let there = listeners.iter().any(|it| it["name"] == name && it["address"] == address.as_str());
        assert!(there, "{name} at {address}: {status}");
    }

    let connections = server.ctl(&["connections", "--json"]).await.json();
    assert_eq!(connections.as_array().map(Vec::len), Some(1), "{connections}");
    assert_eq!((&connections[0]["listener"], &connections[0]["bytes_read"]), (&"echo".into(), &1000.into()));
    let table = server.ctl(&["connections"]).await;
    assert!(table.done().contains("127.0.0.1"), "{table:?}");

    let first = server.restart().await;
    let told = server.ctl(&["status"]).await;
    assert!(told.done().contains("serving: generation 2"), "{told:?}");
    assert!(told.done().contains(&format!("generation 1 drains, process {}", first.pid())), "{told:?}");
    client.finish().await.expect("an orderly end");
}

/// More than one frame takes.
#[tokio::test]
async fn many_connections_are_reported() {
    const MANY: usize = 450;

    let server = Echo::new(Kind::Unix).controlled().start().await;
    let mut clients = Vec::new();
    for _ in 0..MANY {
        clients.push(server.target().connect().await.expect("a connection"));
    }
    until("all of them are told", async || {
        let connections = server.ctl(&["connections", "--json"]).await.json();
        match connections.as_array().map(Vec::len) {
            Some(MANY) => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test]
async fn a_path_without_a_server_is_reported() {
    let place = harness::Place::new();
    let path = place.path("control.sock");
    for command in ["restart", "drain", "status", "connections"] {
        Ctl::new(&path).ask(&[command]).await.failed(&["no server answers", "control.sock"]);
    }
    // What a dead server left.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a directory of ours"));
    Ctl::new(&path).ask(&["status"]).await.failed(&["no server answers", "control.sock"]);

    for wrong in [&["weather"][..], &[], &["status", "--loud"]] {
        let told = Ctl::new(&path).ask(wrong).await;
        assert_eq!(told.code, Some(2), "{told:?}");
    }
}
