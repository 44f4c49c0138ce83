//! Whoever asks over the control path learns what came of it, by an exit code and in words, whatever it is.

use harness::{Ctl, Echo, Exit, Kind, Load, Signal, until};
use nix::{sys::stat::Mode, unistd::mkfifo};

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

/// Also while one is under way: the second is refused, and both are told what they asked.
#[tokio::test]
async fn two_restarts_at_once_are_reported() {
    let (echo, script, again) = Echo::new(Kind::Tcp).controlled().start_script();
    let mut server = echo.start().await;
    let gate = server.place().path("gate");
    mkfifo(&gate, Mode::S_IRWXU).expect("a directory of ours");
    script.write(&format!("read _ < {}\n{again}", gate.display()));

    let first = Ctl::new(server.control()).start(&["restart"]);
    let successor = server.serving().only_child().await;
    server.ctl(&["restart"]).await.failed(&["refused", "already under way"]);
    assert!(server.ctl(&["status"]).await.done().contains("serving: generation 1"));
    assert_eq!(server.serving().children(), [successor], "the one restart goes on, and no other");

    // Opening a fifo waits for the reader, and a reader whose writer is gone reads an empty line.
    let open = tokio::task::spawn_blocking(move || std::fs::write(gate, "\n"));
    open.await.expect("no panic").expect("the reader is there");
    let told = harness::within("the end of ctl", first).await;
    assert!(told.done().contains(&format!("process {successor}")), "{told:?}");
    server.follow().await;
    assert_eq!(server.serving().pid(), successor);
}

/// The successor serves, and dies in its probation. Until then it answers, and refuses.
#[tokio::test]
async fn a_rollback_is_reported() {
    let mut server = Echo::new(Kind::Tcp).controlled().probation("30s").start().await;
    let load = Load::on(server.target());
    let first = server.serving().pid();
    let restarting = Ctl::new(server.control()).start(&["restart"]);
    server.follow().await;
    assert!(server.ctl(&["status"]).await.done().contains("serving: generation 2"));
    server.ctl(&["restart"]).await.failed(&["refused", "on probation"]);
    server.serving().signal(Signal::KILL);
    let told = harness::within("the end of ctl", restarting).await;
    told.failed(&["rolled_back", "accepts again"]);

    let status = server.ctl(&["status", "--json"]).await.json();
    assert_eq!((&status["generation"], &status["pid"]), (&1.into(), &first.into()));
    load.more(10).await;
    load.stop().await;
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
