//! A restart that fails, for whatever reason, is as if it had not been asked for: the server serves without a pause,
//! its pid file stands, nothing of the successor is left, and once the reason is gone the next restart succeeds.

use std::fs;

use harness::{Echo, Kind, Load, Outcome, Process, Server, Signal, program, within};

/// The successor's time for each step. Long enough to be served many times meanwhile.
const READY_TIMEOUT: &str = "4s";

/// The server after a restart that failed with `result`: as before it.
async fn is_as_before(server: &Server, result: &str, failures: f64) {
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("portcullis_restarts_total", &[("result", result)]), failures);
    assert_eq!(metrics.sum("portcullis_restarts_total", &[]), failures, "and no other result");
    assert_eq!(metrics.sum("portcullis_generation", &[]), 1.0);
    assert_eq!(metrics.sum("portcullis_draining", &[]), 0.0);
    assert_eq!(server.get("/readyz").await.status, 200);
    assert_eq!(server.pid_in_file(), server.serving().pid());
    server.serving().no_child_left().await;
    assert_eq!(server.processes(), [server.serving().pid()]);
}

/// The reason is gone: the next restart succeeds, and nobody has noticed anything of it all.
async fn the_next_one_succeeds(mut server: Server, load: Load) {
    let predecessor = server.restart().await;
    load.more(10).await;
    load.stop().await.assert_clean(30);
    predecessor.ended().await;
    assert_eq!(server.pid_in_file(), server.serving().pid());
    assert_eq!(server.metrics().await.sum("portcullis_generation", &[]), 2.0);
}

async fn under_load(server: &Server) -> Load {
    let mut load = Load::on(server.target());
    load.hold().await;
    load.more(10).await;
    load
}

#[tokio::test]
async fn a_key_that_cannot_be_read_fails_the_restart() {
    let mut server = Echo::new(Kind::Tls).start().await;
    let load = under_load(&server).await;
    let key = server.place().path("server.key");
    let good = fs::read(&key).expect("the key is there");

    fs::write(&key, "no key at all").expect("a file of ours");
    let start = server.log().len();
    server.fail_to_restart(&["crashed", "rejected"]).await;
    assert!(
        server.log().count_from(start, |line| line.contains("server.key")) > 0,
        "the log should name the file that is wrong"
    );
    load.more(10).await;
    assert_eq!(server.metrics().await.sum("portcullis_restarts_total", &[]), 1.0);
    assert_eq!(server.pid_in_file(), server.serving().pid());
    server.serving().no_child_left().await;

    fs::write(&key, good).expect("a file of ours");
    the_next_one_succeeds(server, load).await;
}

#[tokio::test]
async fn a_successor_that_exits_at_once_fails_the_restart() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let mut server = echo.start().await;
    let load = under_load(&server).await;
    for (failures, lines) in [(1.0, "exit 3"), (2.0, "exit 0"), (3.0, "kill -KILL $$")] {
        script.write(lines);
        server.fail_to_restart(&["crashed"]).await;
        is_as_before(&server, "crashed", failures).await;
    }
    script.write(&again);
    the_next_one_succeeds(server, load).await;
}

#[tokio::test]
async fn a_program_without_the_protocol_fails_the_restart() {
    let mut server = Echo::new(Kind::Tcp).option("--start-command", "/bin/false").start().await;
    let load = under_load(&server).await;
    server.fail_to_restart(&["crashed"]).await;
    is_as_before(&server, "crashed", 1.0).await;
    load.more(10).await;
    load.stop().await.assert_clean(20);
}

#[tokio::test]
async fn a_successor_that_hangs_fails_the_restart() {
    let (echo, script, again) = Echo::new(Kind::Tcp).option("--ready-timeout", READY_TIMEOUT).start_script();
    let server = echo.start().await;
    let load = under_load(&server).await;
    script.write("kill -STOP $$");

    let start = server.log().len();
    server.serving().signal(Signal::USR1);
    server.serving().only_child().await;
    // It hangs, and meanwhile everybody is served.
    load.more(50).await;
    assert_eq!(
        server.log().count_from(start, |line| line.contains("restart failed")),
        0,
        "served only after the failure"
    );
    let failed = |line: &str| line.contains("restart failed") && line.contains("timed_out");
    server.log().wait_from(start, "restart failed, timed_out", failed).await;
    is_as_before(&server, "timed_out", 1.0).await;

    script.write(&again);
    the_next_one_succeeds(server, load).await;
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_fails_the_restart() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let mut server = echo.start().await;
    let load = under_load(&server).await;

    script.remove();
    server.fail_to_restart(&["spawn_failed"]).await;
    is_as_before(&server, "spawn_failed", 1.0).await;

    script.forbid();
    let start = server.log().len();
    server.fail_to_restart(&["spawn_failed"]).await;
    is_as_before(&server, "spawn_failed", 2.0).await;
    let named =
        |line: &str| line.contains("restart failed") && line.contains(script.path().to_str().expect("text"));
    assert!(server.log().count_from(start, named) > 0, "the log should name what cannot be executed");

    script.write(&again);
    the_next_one_succeeds(server, load).await;
}

#[tokio::test]
async fn an_address_that_the_successor_cannot_bind_fails_the_restart() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let taken = echo.place().address(6790);
    let _occupant = std::net::TcpListener::bind(taken).expect("an address of ours");
    let mut server = echo.start().await;
    let load = under_load(&server).await;

    // A new configuration, with one listener more.
    script.write(&format!("{again} --bind tcp://{taken}"));
    let start = server.log().len();
    server.fail_to_restart(&["crashed", "rejected"]).await;
    let named = |line: &str| line.contains(&taken.to_string());
    assert!(server.log().count_from(start, named) > 0, "the log should name the address that is taken");
    assert_eq!(server.pid_in_file(), server.serving().pid());
    server.serving().no_child_left().await;

    script.write(&again);
    the_next_one_succeeds(server, load).await;
}

/// Whoever inherits a copy of its socket must not make a dead successor look alive, for as long as its probation is.
#[tokio::test]
async fn a_dead_successor_whose_child_keeps_the_socket_fails_the_restart() {
    let (echo, script, again) = Echo::new(Kind::Tcp).probation("10m").start_script();
    let server = echo.start().await;
    let load = under_load(&server).await;
    script.write(&format!("sleep 600 &\n{again}"));
    let start = server.log().len();
    server.serving().signal(Signal::USR1);
    server.log().wait_from(start, "standing by", |line| line.contains("standing by")).await;
    server.log().wait_from(start, "serving", |line| line.contains("serving generation=2")).await;
    let successor = Process::new(server.pid_in_file());
    successor.signal(Signal::KILL);
    let failed = |line: &str| line.contains("restart failed") && line.contains("rolled_back");
    server.log().wait_from(start, "rolled back", failed).await;
    assert_eq!(server.pid_in_file(), server.serving().pid());
    load.more(10).await;
    load.stop().await.assert_only_cut_off(10, 1);
    server.target().visit(1000).await.expect("it serves");
}

#[tokio::test]
async fn many_failed_restarts_leave_nothing_behind() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let mut server = echo.start().await;
    let load = under_load(&server).await;
    script.write("exit 1");
    server.fail_to_restart(&["crashed"]).await;
    server.serving().no_child_left().await;
    load.stop().await.assert_clean(10);

    // Nothing adds up: not a descriptor, not a zombie.
    let before = server.serving().descriptors().len();
    for _ in 0..10 {
        match server.try_restart().await {
            Outcome::Failed(result) => assert_eq!(result, "crashed"),
            outcome => panic!("the successor exits: {outcome:?}"),
        }
    }
    server.serving().no_child_left().await;
    harness::until("as many descriptors as before", async || {
        let now = server.serving().descriptors();
        if now.len() <= before { Ok(()) } else { Err(now) }
    })
    .await;

    script.write(&again);
    server.restart().await;
    server.target().visit(1000).await.expect("the successor serves");
}

/// A program that waits for the restart in the very task that should accept: it must not be its end.
#[tokio::test]
async fn listeners_that_do_not_stop_fail_the_restart() {
    let place = harness::Place::new();
    let address = place.address(6789);
    let command = portcullis::StartCommand::new(
        program("echo"),
        ["--bind", &format!("tcp://{address}"), "--admin", &format!("tcp://{}", place.address(9100))],
    );
    let generation = portcullis::Generation::builder().signals(false).start_command(command);
    let generation = generation.start().await.expect("it starts");
    let listener = generation.listen("echo", format!("tcp://{address}")).expect("an address of ours");
    let service = tower::service_fn(async |connection: portcullis::Accepted| {
        let (mut reader, mut writer) = tokio::io::split(connection);
        tokio::io::copy(&mut reader, &mut writer).await.map(drop)
    });
    let target = harness::Target::tcp(address);
    let mut serving = std::pin::pin!(listener.serve(service));
    tokio::select! {
        _ = &mut serving => panic!("nobody told it to end"),
        served = within("a visit", target.visit(100)) => served.expect("it serves"),
    }
    let error =
        within("the end of the restart", generation.restart()).await.expect_err("nobody stops accepting");
    assert!(matches!(&error, portcullis::RestartError::Rejected { .. }), "{error}");
    tokio::select! {
        _ = &mut serving => panic!("nobody told it to end"),
        served = within("a visit", target.visit(100)) => served.expect("it serves again"),
    }
    generation.drain();
    within("the drain", serving).await.expect("it drains");
}
