//! A process that asks for the sockets and then fails, hangs, comes at the wrong time or is not understood gets nothing, and
//! the server that has them goes on as if nobody had asked.

use harness::{Echo, Ended, Exit, Kind, Load, Server, Signal, StartScript, program};
use nix::{sys::stat::Mode, unistd::mkfifo};
use portcullis::faults::Point;

/// The server serves, as the same process and generation, and restarts.
async fn is_whole(server: &mut Server, generation: u64) {
    let status = server.ctl(&["status", "--json"]).await.json();
    assert_eq!((&status["phase"], &status["generation"]), (&"serving".into(), &generation.into()));
    assert_eq!(status["pid"], server.serving().pid());
    assert_eq!(server.pid_in_file(), server.serving().pid());
    server.target().visit(1000).await.expect("it serves");
    server.restart().await.ended().await;
    server.target().visit(1000).await.expect("the next generation serves");
}

/// One that cannot go on with what it was given.
#[tokio::test]
async fn a_takeover_by_a_process_that_crashes_changes_nothing() {
    let echo = Echo::new(Kind::Tcp).controlled();
    let mut server = echo.clone().start().await;
    let load = Load::on(server.target());
    // An address of nobody's (RFC 5737), which it binds when it has the others.
    let Ended { exit, said } = echo.option("--bind", "tcp://192.0.2.1:1").fail_to_start().await;
    assert_eq!(exit, Exit::Code(1), "{said}");
    server.log().wait_from(0, "restart failed", |line| line.contains("result=\"crashed\"")).await;
    is_whole(&mut server, 1).await;
    load.more(10).await;
    load.stop().await.assert_clean(10);
}

#[tokio::test]
async fn a_takeover_with_a_bad_key_changes_nothing() {
    let echo = Echo::new(Kind::Tls).controlled();
    let mut server = echo.clone().start().await;
    let key = echo.place().path("bad.key");
    std::fs::write(&key, "no key").expect("a directory of ours");
    let Ended { exit, said } = echo.option("--tls-key", &key).fail_to_start().await;
    assert!(matches!(exit, Exit::Code(code) if code != 0), "{said}");
    is_whole(&mut server, 1).await;
}

/// One that hangs is killed, though it is not the server's child.
#[tokio::test]
async fn a_takeover_by_a_process_that_hangs_changes_nothing() {
    for point in [Point::Inherited, Point::Initialised] {
        let echo = Echo::new(Kind::Tcp).controlled().option("--ready-timeout", "500ms");
        let mut server = echo.clone().start().await;
        let load = Load::on(server.target());
        let (hanging, faults) = echo.faults();
        faults.order(point, "stop");
        let Ended { exit, said } = hanging.fail_to_start().await;
        assert_eq!(exit, Exit::Signal(9), "{point:?}: {said}");
        server.log().wait_from(0, "restart failed", |line| line.contains("result=\"timed_out\"")).await;
        is_whole(&mut server, 1).await;
        load.more(10).await;
        load.stop().await.assert_clean(10);
    }
}

/// One that comes while a restart is under way is refused, and told why; the restart goes on.
#[tokio::test]
async fn a_takeover_during_a_restart_is_refused() {
    let (echo, script, again) = Echo::new(Kind::Tcp).controlled().start_script();
    let mut server = echo.clone().start().await;
    let gate = server.place().path("gate");
    mkfifo(&gate, Mode::S_IRWXU).expect("a directory of ours");
    script.write(&format!("read _ < {}\n{again}", gate.display()));
    server.serving().signal(Signal::USR1);
    let successor = server.serving().only_child().await;

    let Ended { exit, said } = echo.fail_to_start().await;
    assert_eq!(exit, Exit::Code(1), "{said}");
    assert!(said.contains("already under way") && said.contains("control.sock"), "{said}");
    assert_eq!(server.serving().children(), [successor], "the restart goes on");

    // Opening a fifo waits for the reader, and a reader whose writer is gone reads an empty line.
    let open = tokio::task::spawn_blocking(move || std::fs::write(gate, "\n"));
    open.await.expect("no panic").expect("the reader is there");
    server.follow().await;
    assert_eq!(server.serving().pid(), successor);
    script.write(&again);
    is_whole(&mut server, 2).await;
}

#[tokio::test]
async fn a_takeover_while_the_server_drains_is_refused() {
    let echo = Echo::new(Kind::Tcp).controlled();
    let server = echo.clone().start().await;
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(10).await.expect("an echo");
    server.serving().signal(Signal::TERM);
    let drains = |line: &str| line.contains("draining");
    server.log().wait_from(0, "draining", drains).await;

    let Ended { exit, said } = echo.fail_to_start().await;
    assert_eq!(exit, Exit::Code(1), "{said}");
    assert!(said.contains("already drains"), "{said}");
    client.finish().await.expect("it finishes");
    assert_eq!(server.serving().ended().await, Exit::Code(0));
}

/// A server in a PID namespace, as in a container: the process that asks has no number in it.
mod in_another_pid_namespace {
    use super::*;

    /// Starts the program as process 1 of a namespace of its own.
    fn contained(echo: Echo, name: &str) -> Echo {
        let script = StartScript::at(echo.place().path(name));
        script.write(&format!("exec unshare --pid --fork --kill-child {} \"$@\"", program("echo").display()));
        let path = script.path().to_owned();
        echo.program(path)
    }

    #[tokio::test]
    #[ignore = "needs root and unshare: makes PID namespaces"]
    async fn one_container_takes_over_from_another() {
        let echo = Echo::new(Kind::Tcp).controlled();
        let first = contained(echo.clone(), "first").start().await;
        let load = Load::on(first.target());
        load.more(10).await;
        let second = contained(echo, "second").take_over(2).await;
        load.more(10).await;
        load.stop().await.assert_clean(20);
        assert_eq!(first.serving().ended().await, Exit::Code(0));
        let status = second.ctl(&["status", "--json"]).await.json();
        assert_eq!((&status["pid"], &status["generation"]), (&1.into(), &2.into()), "{status}");
    }

    /// It cannot be killed from there, only told not to serve; which it obeys.
    #[tokio::test]
    #[ignore = "needs root and unshare: makes PID namespaces"]
    async fn one_that_hangs_outside_is_told_not_to_serve() {
        let echo = Echo::new(Kind::Tcp).controlled().option("--ready-timeout", "500ms");
        let server = contained(echo.clone(), "contained").start().await;
        let load = Load::on(server.target());
        let (hanging, faults) = echo.faults();
        faults.order(Point::Inherited, "stop");
        let hanging = tokio::spawn(hanging.fail_to_start());
        server.log().wait_from(0, "restart failed", |line| line.contains("result=\"timed_out\"")).await;
        assert!(!hanging.is_finished(), "nobody can kill it from there");
        assert!(server.ctl(&["status"]).await.done().contains("serving: generation 1"));
        load.more(10).await;
        load.stop().await.assert_clean(10);
        hanging.abort();
    }
}
