//! Restarts happen below the supervisor: it stays, as PID 1 of a container must, and nothing grows in it. Whatever goes wrong in a
//! restart, one line of generations serves afterwards, and not two.

use std::{fs, path::PathBuf, time::Duration};

use harness::{As, Echo, Exit, Kind, Load, Process, Signal, Supervised, until};
use nix::{sys::stat::Mode, unistd::mkfifo};

const RESTARTS: u64 = 20;

/// How many descriptors the supervisor has, once it holds one process alone.
async fn descriptors(supervised: &Supervised) -> usize {
    until("the supervisor holds one process", async || {
        let open = supervised.supervisor().descriptors();
        let processes = open.values().filter(|what| what.to_string_lossy().contains("pidfd")).count();
        if processes == 1 { Ok(open.len()) } else { Err(open) }
    })
    .await
}

async fn restarts(how: As) {
    // One client stays with the generation that accepted it, for as long as all of this takes.
    let echo = Echo::new(Kind::Tcp).option("--drain-timeout", "600s");
    let supervised = Supervised::echo(how, echo).await;
    supervised.serving(0, 1).await;
    // The second generation is the first with an inherited socket.
    let mut serving = supervised.restart(2).await;
    supervised.only(&serving).await;
    let before = descriptors(&supervised).await;
    let threads = supervised.supervisor().threads();

    let mut load = Load::on(supervised.target());
    load.hold().await;
    for restart in 0..RESTARTS {
        supervised.settled(2 + restart).await;
        serving = supervised.restart(3 + restart).await;
        load.more(10).await;
    }
    load.stop().await.assert_clean(200);
    supervised.only(&serving).await;
    assert!(!supervised.supervisor().is_over());
    assert_eq!(descriptors(&supervised).await, before);
    assert_eq!(supervised.supervisor().threads(), threads);
    assert_eq!(supervised.supervisor().children(), [serving.pid()], "and no zombie");

    // The twenty-second generation is below it as the first was: its crash is seen.
    let start = supervised.log().len();
    serving.signal(Signal::KILL);
    let serving = supervised.serving(start, 1).await;
    supervised.only(&serving).await;
    supervised.target().visit(1000).await.expect("it serves");
}

#[tokio::test]
async fn restarts_happen_below_the_supervisor() {
    restarts(As::Process).await;
}

#[tokio::test]
#[ignore = "needs root: a PID namespace"]
async fn restarts_happen_below_the_first_process() {
    restarts(As::FirstProcess).await;
}

/// A start command that waits at a gate before it becomes the server.
fn gated(echo: Echo) -> (Echo, PathBuf) {
    let (echo, script, again) = echo.start_script();
    let gate = echo.place().path("gate");
    mkfifo(&gate, Mode::S_IRWXU).expect("a directory of ours");
    script.write(&format!("read _ < {}\n{again}", gate.display()));
    (echo, gate)
}

async fn open(gate: PathBuf) {
    let opened = tokio::task::spawn_blocking(move || fs::write(gate, "\n")).await;
    opened.expect("no panic").expect("somebody waits at the gate");
}

/// The line in which the supervisor says that it has started a process that is no successor.
fn started(line: &str) -> bool {
    line.contains("event_loop: started")
}

/// It learns at the same moment that one process is over and that another serves.
#[tokio::test]
async fn a_handoff_that_it_learns_of_late_is_no_end() {
    let supervised = Supervised::echo(As::Process, Echo::new(Kind::Tcp)).await;
    let first = supervised.serving(0, 1).await;
    supervised.supervisor().stop().await;
    let start = supervised.log().len();
    first.signal(Signal::USR1);
    first.ended().await;
    // The pid file is written beside the handoff: the first may exit before, and the log says when it is there.
    let serves = |line: &str| line.contains("serving generation=2");
    supervised.log().wait_from(start, "serving generation=2", serves).await;
    let named = fs::read_to_string(supervised.pid_file()).expect("the pid file is there");
    let second = Process::new(named.trim().parse().expect("a pid"));
    assert_ne!(second.pid(), first.pid());
    let start = supervised.log().len();
    supervised.supervisor().signal(Signal::CONT);
    let follows = |line: &str| line.contains("another process serves");
    supervised.log().wait_from(start, "that the second serves", follows).await;
    supervised.target().visit(1000).await.expect("it serves");
    supervised.only(&second).await;
    assert_eq!(supervised.log().count_from(0, started), 0, "no second line was started");
}

/// A supervisor, and a successor that waits at its gate and whose predecessor was killed.
struct Orphaned {
    supervised: Supervised,
    successor: Process,
    /// What the log says of it begins here.
    start: usize,
}

impl Orphaned {
    async fn of(gated: Echo) -> Self {
        let supervised = Supervised::echo(As::Process, gated).await;
        let first = supervised.serving(0, 1).await;
        supervised.supervisor().signal(Signal::USR1);
        let successor = Process::new(first.only_child().await);
        let start = supervised.log().len();
        first.signal(Signal::KILL);
        supervised.log().wait_from(start, "that the first is over", |line| line.contains("is over")).await;
        Self { supervised, successor, start }
    }
}

#[tokio::test]
async fn a_successor_whose_predecessor_dies_is_waited_for() {
    let (echo, gate) = gated(Echo::new(Kind::Tcp));
    let Orphaned { supervised, successor, start } = Orphaned::of(echo).await;
    let mut waiting = supervised.target().connect().await.expect("a place in the queue");
    open(gate).await;

    let serving = supervised.serving(start, 2).await;
    assert_eq!(serving.pid(), successor.pid());
    waiting.echo(1000).await.expect("it is served");
    supervised.only(&serving).await;
    assert_eq!(supervised.log().count_from(0, started), 0, "no second line was started");
    assert_eq!(supervised.supervisor().children(), [serving.pid()]);
}

#[tokio::test]
async fn a_successor_that_dies_with_its_predecessor_is_replaced() {
    let (echo, _gate) = gated(Echo::new(Kind::Tcp));
    let Orphaned { supervised, successor, start } = Orphaned::of(echo).await;
    successor.signal(Signal::KILL);
    let serving = supervised.serving(start, 1).await;
    supervised.only(&serving).await;
    supervised.target().visit(1000).await.expect("it serves");
}

#[tokio::test]
async fn a_successor_that_does_not_come_to_serve_is_replaced() {
    let (echo, _gate) = gated(Echo::new(Kind::Tcp).option("--ready-timeout", "500ms"));
    let Orphaned { supervised, successor, start } = Orphaned::of(echo).await;
    let serving = supervised.serving(start, 1).await;
    successor.ended().await;
    supervised.only(&serving).await;
}

#[tokio::test]
async fn a_predecessor_that_takes_its_place_again_is_followed() {
    let supervised = Supervised::echo(As::Process, Echo::new(Kind::Tcp).probation("600s")).await;
    let first = supervised.serving(0, 1).await;
    let start = supervised.log().len();
    let second = supervised.restart(2).await;
    // One that has served for a second is replaced at once, were there nobody who takes its place again.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    second.signal(Signal::KILL);
    let follows =
        |line: &str| line.contains("another process serves") && line.contains(&first.pid().to_string());
    supervised.log().wait_from(start, "that the first serves again", follows).await;
    supervised.target().visit(1000).await.expect("it serves");
    supervised.only(&first).await;
    assert_eq!(supervised.log().count_from(0, started), 0, "no second line was started");

    // And it is the one that is watched.
    let start = supervised.log().len();
    first.signal(Signal::KILL);
    let serving = supervised.serving(start, 1).await;
    supervised.only(&serving).await;
}

#[tokio::test]
async fn a_successor_that_dies_after_its_probation_is_replaced_while_its_predecessor_drains() {
    let supervised =
        Supervised::echo(As::Process, Echo::new(Kind::Tcp).option("--drain-timeout", "600s")).await;
    supervised.serving(0, 1).await;
    let mut old = supervised.target().connect().await.expect("a connection");
    old.echo(100).await.expect("an echo");
    let start = supervised.log().len();
    let second = supervised.restart(2).await;
    supervised.log().wait_from(start, "settled", |line| line.contains("restart succeeded")).await;
    let start = supervised.log().len();
    second.signal(Signal::KILL);
    let third = supervised.serving(start, 1).await;
    supervised.target().visit(1000).await.expect("the new one serves");
    old.echo(100).await.expect("the first still drains");
    old.finish().await.expect("an orderly end");
    supervised.only(&third).await;
    supervised.supervisor().signal(Signal::TERM);
    assert_eq!(supervised.ended().await, Exit::Code(0));
}

/// As a new container does that shares a volume with the old one: this test is not below the supervisor, nor is what it starts.
#[tokio::test]
async fn a_server_that_is_taken_over_from_elsewhere_ends_with_its_supervisor() {
    let echo = Echo::new(Kind::Tcp);
    let path = echo.place().path("control");
    let echo = echo.option("--takeover", path);
    let supervised = Supervised::echo(As::Process, echo.clone()).await;
    supervised.serving(0, 1).await;
    let load = Load::on(supervised.target());
    load.more(20).await;
    let server = echo.take_over(2).await;
    load.more(20).await;
    assert_eq!(supervised.ended().await, Exit::Code(0));
    load.more(20).await;
    load.stop().await.assert_clean(60);
    assert_eq!(server.terminate().await, Exit::Code(0));
}
