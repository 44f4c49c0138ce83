//! `TERM` to a supervisor is `TERM` to every generation below it: they finish, and the supervisor exits as the last of them does; a
//! second one ends all at once, with 1.

use std::time::Instant;

use harness::{As, Client, Echo, Exit, Fault, Kind, Process, Signal, Supervised, until};

/// Longer than any test runs: what ends earlier was not ended by the deadline.
const NO_DEADLINE: &str = "600s";

async fn supervised(how: As, kind: Kind) -> Supervised {
    Supervised::echo(how, Echo::new(kind).option("--drain-timeout", NO_DEADLINE)).await
}

async fn connected(supervised: &Supervised) -> Client {
    let mut client = supervised.target().connect().await.expect("a connection");
    client.echo(100).await.expect("an echo");
    client
}

/// Waits until nobody listens any more, not even the supervisor.
async fn nobody_listens(supervised: &Supervised) {
    until("new connections are refused", async || match supervised.target().connect().await {
        Err(Fault::Refused(_)) => Ok(()),
        // One that came in at the last moment is served, or ends.
        other => Err(other.map(drop)),
    })
    .await;
}

async fn drains(how: As, kind: Kind, signal: Signal) {
    let supervised = supervised(how, kind).await;
    supervised.serving(0, 1).await;
    let mut early = connected(&supervised).await;
    let second = supervised.restart(2).await;
    let mut late = connected(&supervised).await;

    supervised.supervisor().signal(signal);
    nobody_listens(&supervised).await;
    early.echo(100_000).await.expect("the first generation goes on");
    late.echo(100_000).await.expect("and so does the second");
    late.finish().await.expect("an orderly end");
    early.echo(100).await.expect("the first still does");
    assert!(!supervised.supervisor().is_over());
    early.finish().await.expect("an orderly end");
    assert_eq!(supervised.ended().await, Exit::Code(0));
    second.ended().await;
    assert!(supervised.processes().is_empty(), "{:?}", supervised.processes());
    assert!(!supervised.pid_file().exists(), "the pid file goes with the last process");
}

#[tokio::test]
async fn term_drains_all_generations() {
    for kind in [Kind::Tcp, Kind::Unix] {
        drains(As::Process, kind, Signal::TERM).await;
    }
}

#[tokio::test]
async fn int_drains_all_generations_as_term_does() {
    drains(As::Process, Kind::Tcp, Signal::INT).await;
}

#[tokio::test]
#[ignore = "needs root: a PID namespace"]
async fn term_drains_below_the_first_process() {
    drains(As::FirstProcess, Kind::Tcp, Signal::TERM).await;
}

#[tokio::test]
async fn what_waits_in_the_queue_is_served_before_the_end() {
    let supervised = supervised(As::Process, Kind::Tcp).await;
    let serving = supervised.serving(0, 1).await;
    serving.stop().await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(supervised.target().connect().await.expect("a place in the queue"));
    }
    supervised.supervisor().signal(Signal::TERM);
    supervised.log().wait_from(0, "told to end", |line| line.contains("told to end")).await;
    serving.signal(Signal::CONT);
    for mut client in clients {
        client.echo(1000).await.expect("it is served");
        client.finish().await.expect("an orderly end");
    }
    assert_eq!(supervised.ended().await, Exit::Code(0));
}

async fn a_second_one(how: As) {
    let supervised = supervised(how, Kind::Unix).await;
    supervised.serving(0, 1).await;
    let mut early = connected(&supervised).await;
    supervised.restart(2).await;
    let mut late = connected(&supervised).await;
    supervised.supervisor().signal(Signal::TERM);
    nobody_listens(&supervised).await;
    early.echo(100).await.expect("the first one is graceful");
    let begun = Instant::now();
    supervised.supervisor().signal(Signal::TERM);
    assert_eq!(supervised.ended().await, Exit::Code(1));
    assert!(begun.elapsed().as_secs() < 5, "at once: {:?}", begun.elapsed());
    early.wait_for_end().await;
    late.wait_for_end().await;
    until("nobody is left", async || match supervised.processes() {
        none if none.is_empty() => Ok(()),
        left => Err(left),
    })
    .await;
    assert!(!supervised.pid_file().exists(), "nor the pid file");
}

#[tokio::test]
async fn a_second_term_ends_all_generations_at_once() {
    a_second_one(As::Process).await;
}

#[tokio::test]
#[ignore = "needs root: a PID namespace"]
async fn a_second_term_ends_the_first_process_at_once() {
    a_second_one(As::FirstProcess).await;
}

/// It has stopped, and hears no signal but that which nobody can refuse.
#[tokio::test]
async fn a_process_that_does_not_hear_is_killed() {
    let supervised = supervised(As::Process, Kind::Tcp).await;
    let serving = supervised.serving(0, 1).await;
    serving.stop().await;
    supervised.supervisor().signal(Signal::TERM);
    supervised.log().wait_from(0, "told to end", |line| line.contains("told to end")).await;
    supervised.supervisor().signal(Signal::TERM);
    assert_eq!(supervised.ended().await, Exit::Code(1));
    serving.ended().await;
}

#[tokio::test]
async fn the_exit_code_is_that_of_the_server() {
    let supervised = supervised(As::Process, Kind::Tcp).await;
    let serving = supervised.serving(0, 1).await;
    let _client = connected(&supervised).await;
    supervised.supervisor().signal(Signal::TERM);
    nobody_listens(&supervised).await;
    serving.signal(Signal::KILL);
    assert_eq!(supervised.ended().await, Exit::Code(128 + 9));

    // A bind that is somebody else's.
    let taken = Echo::new(Kind::Tcp);
    let at = taken.place().address(6789);
    let _theirs = std::net::TcpListener::bind(at).expect("an address of ours");
    let supervised = Supervised::echo(As::Process, taken).await;
    assert_eq!(supervised.ended().await, Exit::Code(1), "it never was ready");
}

/// The terminal sends it to a whole process group. Were the server in that of the supervisor, it would be told twice, and
/// end at once.
#[tokio::test]
async fn an_interrupt_of_the_terminal_reaches_the_supervisor_alone() {
    let supervised = supervised(As::Process, Kind::Tcp).await;
    let first = supervised.serving(0, 1).await;
    let second = supervised.restart(2).await;
    let group = |process: &Process| {
        let pid = i32::try_from(process.pid()).expect("a pid");
        nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid))).expect("the process is there")
    };
    assert_ne!(group(&second), group(supervised.supervisor()));
    assert_eq!(group(&second).as_raw().unsigned_abs(), first.pid());
}

/// A hang-up ends the server, as the system has it; that is a crash to the supervisor.
#[tokio::test]
async fn other_signals_are_sent_on() {
    let supervised = supervised(As::Process, Kind::Tcp).await;
    supervised.serving(0, 1).await;
    for (signal, name) in
        [(Signal::HUP, "Signal(1)"), (Signal::QUIT, "Signal(3)"), (Signal::USR2, "Signal(12)")]
    {
        let start = supervised.log().len();
        supervised.supervisor().signal(signal);
        let over = |line: &str| line.contains("is over") && line.contains(&format!("exit={name}"));
        supervised.log().wait_from(start, name, over).await;
        supervised.serving(start, 1).await;
    }
    supervised.supervisor().signal(Signal::TERM);
    assert_eq!(supervised.ended().await, Exit::Code(0));
}
