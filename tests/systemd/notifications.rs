//! The service manager is told what happens to the service, by the generation it happens to: `sd_notify(3)`.

use std::time::Duration;

use harness::{Echo, Exit, Kind, Manager, Notice, Process, Server, Signal, until, within};
use rustix::time::{ClockId, clock_gettime};

/// A server that has a manager to tell.
async fn watched(echo: Echo) -> (Manager, Server) {
    let path = echo.place().path("notify");
    let manager = Manager::at(&path);
    let server = echo.variable("NOTIFY_SOCKET", path).start().await;
    manager.ready_from(0, server.serving()).await;
    (manager, server)
}

fn monotonic_micros() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1000).expect("a time since boot")
}

/// Whether a notice says which process is the main one, and it is this.
fn names(notice: &Notice, process: &Process) -> bool {
    notice.names_its_sender() && notice.sender == process.pid()
}

/// The order in which things were said from `start` on: of those words that are about the state of the service.
fn states(manager: &Manager, start: usize) -> Vec<&'static str> {
    const STATES: [&str; 3] = ["READY", "RELOADING", "STOPPING"];
    manager.look(start, |notice| STATES.into_iter().find(|state| notice.has(state)))
}

#[tokio::test]
async fn a_start_notifies_readiness_and_main_pid() {
    let (manager, server) = watched(Echo::new(Kind::Tcp)).await;
    let status = manager.ready_from(0, server.serving()).await;
    assert_eq!(status, "generation 1 serves");

    let named = Manager::named(&format!("portcullis-test-{}", std::process::id()));
    let address = format!("@portcullis-test-{}", std::process::id());
    let other = Echo::new(Kind::Tcp).variable("NOTIFY_SOCKET", address).start().await;
    named.ready_from(0, other.serving()).await;
}

#[tokio::test]
async fn a_restart_notifies_its_begin_and_the_new_main_pid() {
    let (manager, mut server) = watched(Echo::new(Kind::Tcp).probation("300ms")).await;
    for generation in 2..=3 {
        let (start, before) = (manager.len(), monotonic_micros());
        let predecessor = server.restart().await;
        let ready = manager.ready_from(start, server.serving()).await;
        assert_eq!(ready, format!("generation {generation} serves"));

        let begun = manager
            .wait_from(start, "a restart begins", |notice| {
                let begins = notice.has("RELOADING") && notice.sender == predecessor.pid();
                begins.then(|| notice.number("MONOTONIC_USEC"))
            })
            .await;
        assert!((before..=monotonic_micros()).contains(&begun), "{before} {begun}");
        // On probation it is the main process, and the restart is not over.
        let first = manager
            .wait_from(start, "the successor names itself", |notice| {
                names(notice, server.serving())
                    .then(|| (notice.has("READY"), notice.field("STATUS").map(str::to_owned)))
            })
            .await;
        assert_eq!(first, (false, Some(format!("generation {generation} serves, on probation"))));

        assert_eq!(predecessor.ended().await, Exit::Code(0));
        assert_eq!(
            states(&manager, start),
            ["RELOADING", "READY"],
            "one that drains after a handoff says nothing"
        );
    }
}

#[tokio::test]
async fn a_failed_restart_notifies_its_reason_and_readiness() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let (manager, mut server) = watched(echo).await;
    for (lines, reason) in [("exit 3", "exit status: 3"), ("exec /nowhere/echo", "exit status: 127")] {
        script.write(lines);
        let start = manager.len();
        server.fail_to_restart(&["crashed"]).await;
        let status = manager.ready_from(start, server.serving()).await;
        assert!(status.starts_with("generation 1 serves; restart failed: "), "{status}");
        assert!(status.contains(reason), "{status}");
        assert_eq!(states(&manager, start), ["RELOADING", "READY"]);
    }
    script.write(&again);
    let start = manager.len();
    server.restart().await;
    manager.ready_from(start, server.serving()).await;
}

/// R20, second half.
#[tokio::test]
async fn a_rollback_notifies_the_serving_main_pid() {
    let (manager, server) = watched(Echo::new(Kind::Tcp).probation("600s")).await;
    let start = manager.len();
    server.serving().signal(Signal::USR1);
    let successor = manager
        .wait_from(start, "the successor names itself", |notice| {
            (notice.names_its_sender() && notice.sender != server.serving().pid()).then_some(notice.sender)
        })
        .await;
    let mark = manager.len();
    Process::new(successor).signal(Signal::KILL);
    let status = manager.ready_from(mark, server.serving()).await;
    assert!(status.contains("restart failed") && status.contains("accepts again"), "{status}");
    // The log says it once the pid file is written.
    server.log().wait_from(0, "restart failed", |line| line.contains("restart failed")).await;
    assert_eq!(server.pid_in_file(), server.serving().pid());
    server.target().visit(1000).await.expect("it serves");

    // A restart that is asked for on top of another one ends with it.
    let mut start = manager.len();
    let mut begun = Vec::new();
    for _ in 0..2 {
        server.serving().signal(Signal::USR1);
        let time = manager.wait_from(start, "a restart begins", |notice| {
            notice.has("RELOADING").then(|| notice.number("MONOTONIC_USEC"))
        });
        begun.push(time.await);
        start = manager.len();
    }
    assert!(begun[0] < begun[1], "{begun:?}");
}

#[tokio::test]
async fn a_stop_notifies_how_long_it_may_take() {
    let (manager, server) = watched(Echo::new(Kind::Tcp).option("--drain-timeout", "100s")).await;
    let start = manager.len();
    assert_eq!(server.terminate().await, Exit::Code(0));
    let (sender, micros) = manager
        .wait_from(start, "it stops", |notice| {
            notice.has("STOPPING").then(|| (notice.sender, notice.number("EXTEND_TIMEOUT_USEC")))
        })
        .await;
    assert_eq!(sender, server.serving().pid());
    assert!(micros > 100_000_000, "longer than the drain may take: {micros}");
}

/// The manager kills what is left of a service when its main process is gone (`KillMode=mixed`).
#[tokio::test]
async fn the_last_generation_waits_for_older_ones_that_drain() {
    let (_manager, mut server) = watched(Echo::new(Kind::Tcp).option("--drain-timeout", "600s")).await;
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(100).await.expect("an echo");
    let predecessor = server.restart().await;
    let start = server.log().len();
    server.serving().signal(Signal::TERM);
    server.log().wait_from(start, "it waits", |line| line.contains("waiting for an older generation")).await;
    client.echo(100).await.expect("an echo");
    assert!(!predecessor.is_over() && !server.serving().is_over());
    client.finish().await.expect("an orderly end");
    assert_eq!(server.serving().ended().await, Exit::Code(0));
    assert!(predecessor.is_over());
}

#[tokio::test]
async fn watchdog_notifications_come_from_the_serving_process() {
    let echo = Echo::new(Kind::Tcp).option("--drain-timeout", "600s").variable("WATCHDOG_USEC", "200000");
    let (manager, mut server) = watched(echo).await;
    let sign = |notice: &Notice| (notice.field("WATCHDOG") == Some("1")).then_some(notice.sender);
    let signs = async |start: usize, pid: u32| {
        until("three signs of life", async || match manager.look(start, sign) {
            signs if signs.iter().filter(|sender| **sender == pid).count() >= 3 => Ok(()),
            signs => Err(signs),
        })
        .await;
    };
    signs(0, server.serving().pid()).await;

    // It stays, and drains.
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(100).await.expect("an echo");
    let predecessor = server.restart().await;
    let start = manager.len();
    signs(start, server.serving().pid()).await;
    assert!(!predecessor.is_over());
    let senders = manager.look(start, sign);
    assert!(senders.iter().all(|sender| *sender == server.serving().pid()), "{senders:?}");

    // A process that does not run gives none.
    server.serving().signal(Signal::STOP);
    let start = manager.len();
    let more = manager.wait_from(start + 1, "a second sign of life", sign);
    assert!(tokio::time::timeout(Duration::from_millis(500), more).await.is_err(), "it is stopped");
    server.serving().signal(Signal::CONT);
    client.finish().await.expect("an orderly end");
}

#[tokio::test]
async fn a_missing_notify_socket_is_ignored() {
    let echo = Echo::new(Kind::Tcp);
    let path = echo.place().path("nobody");
    let mut server = echo.variable("NOTIFY_SOCKET", path).start().await;
    server.restart().await.ended().await;
    server.target().visit(1000).await.expect("it serves");
    assert_eq!(server.terminate().await, Exit::Code(0));
    let told = |line: &str| line.contains("the service manager cannot be told");
    assert_eq!(server.log().count_from(0, told), 2, "once by each generation:\n{}", server.log().text());
}

#[tokio::test]
async fn a_full_notify_socket_delays_nothing() {
    let echo = Echo::new(Kind::Tcp);
    let path = echo.place().path("notify");
    let deaf = std::os::unix::net::UnixDatagram::bind(&path).expect("a path of ours");
    let full = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    full.set_nonblocking(true).expect("a socket of ours");
    while full.send_to(b"STATUS=full", &path).is_ok() {}

    let mut server = echo.variable("NOTIFY_SOCKET", path).start().await;
    server.target().visit(1000).await.expect("it serves");
    server.restart().await.ended().await;
    server.target().visit(1000).await.expect("it serves");
    assert_eq!(server.terminate().await, Exit::Code(0));
    drop(deaf);
}

#[tokio::test]
async fn variables_of_another_process_are_not_used() {
    let echo = Echo::new(Kind::Tcp);
    let path = echo.place().path("notify");
    let manager = Manager::at(&path);
    let echo = echo.variable("NOTIFY_SOCKET", path).variable("SYSTEMD_EXEC_PID", "1");
    let server = echo.start().await;
    server.log().wait_from(0, "a warning", |line| line.contains("meant for another process")).await;
    assert_eq!(server.terminate().await, Exit::Code(0));
    assert_eq!(manager.len(), 0);

    for address in ["vsock:2:1234", "relative"] {
        let server = Echo::new(Kind::Tcp).variable("NOTIFY_SOCKET", address).start().await;
        let refused = |line: &str| line.contains("NOTIFY_SOCKET cannot be used") && line.contains(address);
        server.log().wait_from(0, "a warning", refused).await;
    }
}

#[tokio::test]
async fn a_restart_that_is_cancelled_ends_in_the_stop() {
    let (echo, script, _) = Echo::new(Kind::Tcp).start_script();
    let (manager, server) = watched(echo).await;
    script.write("exec sleep 600");
    let start = manager.len();
    let (exit, outcome) = within("both", async {
        server.serving().signal(Signal::USR1);
        manager.wait_from(start, "a restart begins", |notice| notice.has("RELOADING").then_some(())).await;
        let log = server.log().clone();
        let from = log.len();
        server.serving().signal(Signal::TERM);
        let exit = server.serving().ended().await;
        let over = log.wait_from(from, "restart failed", |line| line.contains("restart failed")).await;
        (exit, over)
    })
    .await;
    assert_eq!(exit, Exit::Code(0));
    assert!(outcome.contains("cancelled"), "{outcome}");
    // What it has sent is read a moment later.
    manager.wait_from(start, "the stop", |notice| notice.has("STOPPING").then_some(())).await;
    assert_eq!(states(&manager, start).last(), Some(&"STOPPING"));
}
