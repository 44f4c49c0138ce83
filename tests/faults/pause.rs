//! R23: processes stand still, by SIGSTOP, for longer than a limit. Time in which a process was
//! stopped itself does not count against the other one.

use std::time::{Duration, Instant};

use portcullis::faults::Point;

use harness::{Client, Process, Signal};

use crate::line::{Line, at_once, pid_file_names_server};

/// Which of two processes that stand still goes on first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Predecessor,
    Successor,
}

/// Both processes stand still for this time, and then go on. `held` is served by the predecessor.
async fn pause(predecessor: &Process, successor: &Process, held: &mut Client, time: Duration, first: First) {
    predecessor.stop().await;
    successor.stop().await;
    // The time itself is what is tested.
    tokio::time::sleep(time).await;
    match first {
        First::Predecessor => {
            predecessor.signal(Signal::CONT);
            // It has looked at its timers once it serves a client.
            held.echo(1000).await.expect("the predecessor goes on with it");
            successor.signal(Signal::CONT);
        }
        First::Successor => {
            successor.signal(Signal::CONT);
            predecessor.signal(Signal::CONT);
        }
    }
}

/// The restart that was requested has succeeded, and nothing was cut off.
async fn has_succeeded(line: &mut Line, start: usize, successor: &Process, mut held: Client) {
    let over = |line: &str| line.contains("restart succeeded") || line.contains("restart failed");
    let outcome = line.server.log().wait_from(start, "the outcome of the restart", over).await;
    assert!(outcome.contains("restart succeeded"), "{outcome}");
    line.server.follow().await;
    assert_eq!(line.server.serving().pid(), successor.pid(), "the successor was not killed");
    held.echo(1000).await.expect("the predecessor goes on with it");
    held.finish().await.expect("an orderly end");
    line.server.alone().await;
    pid_file_names_server(&line.server);
}

async fn client(line: &Line) -> Client {
    let mut client = line.server.target().connect().await.expect("a connection");
    client.echo(1000).await.expect("an echo");
    client
}

#[tokio::test]
async fn a_pause_of_both_on_probation_kills_no_healthy_successor() {
    /// The predecessor waits for the probation and five seconds, of which two are over.
    const PAUSE: Duration = Duration::from_secs(6);

    let cases = [First::Predecessor, First::Successor].map(|first| async move {
        let mut line = Line::start(Line::echo().probation("2s")).await;
        let held = client(&line).await;
        let start = line.server.log().len();
        // It stands still at the end of its probation, and has not sent `settled`.
        line.faults.order(Point::Passed, "stop");
        line.server.serving().signal(Signal::USR1);
        line.server.log().wait_from(start, "standing by", |line| line.contains("standing by")).await;
        let mut served = client(&line).await;
        let successor = Process::new(line.server.serving().only_child().await);
        harness::until("it stands still", async || successor.is_stopped().then_some(()).ok_or(())).await;
        let mut held = held;
        pause(line.server.serving(), &successor, &mut held, PAUSE, first).await;
        served.echo(1000).await.expect("the successor goes on with it");
        has_succeeded(&mut line, start, &successor, held).await;
        served.echo(1000).await.expect("and does not end");
        served.finish().await.expect("an orderly end");
    });
    at_once(cases).await;
}

/// The probation does not begin again, and the predecessor does not stand by for longer.
#[tokio::test]
async fn a_pause_counts_as_a_part_of_the_probation() {
    const PROBATION: Duration = Duration::from_secs(10);

    let mut line = Line::start(Line::echo().probation("10s")).await;
    let mut held = client(&line).await;
    let start = line.server.log().len();
    line.server.serving().signal(Signal::USR1);
    line.server.log().wait_from(start, "standing by", |line| line.contains("standing by")).await;
    let predecessor = line.server.serving();
    let successor = Process::new(predecessor.only_child().await);
    pause(predecessor, &successor, &mut held, PROBATION, First::Predecessor).await;
    let resumed = Instant::now();
    has_succeeded(&mut line, start, &successor, held).await;
    assert!(resumed.elapsed() < PROBATION / 2, "{:?}", resumed.elapsed());
}

/// The successor settles meanwhile, and that counts.
#[tokio::test]
async fn a_pause_of_the_predecessor_on_probation_kills_no_settled_successor() {
    let mut line = Line::start(Line::echo()).await;
    let mut held = client(&line).await;
    let start = line.server.log().len();
    line.server.serving().signal(Signal::USR1);
    line.server.log().wait_from(start, "standing by", |line| line.contains("standing by")).await;
    let predecessor = line.server.serving();
    let successor = Process::new(predecessor.only_child().await);
    predecessor.stop().await;
    line.server.log().wait_from(start, "settled", |line| line.contains("settled generation=2")).await;
    let mut served = client(&line).await;
    // The probation and five seconds are over.
    tokio::time::sleep(Duration::from_secs(6)).await;
    predecessor.signal(Signal::CONT);
    held.echo(1000).await.expect("the predecessor goes on with it");
    has_succeeded(&mut line, start, &successor, held).await;
    served.echo(1000).await.expect("the successor goes on with it");
    served.finish().await.expect("an orderly end");
}

#[tokio::test]
async fn a_pause_of_both_before_the_commit_fails_no_restart() {
    const LIMIT: &str = "3s";
    const PAUSE: Duration = Duration::from_secs(4);

    // The predecessor waits for the successor, and then the successor for the predecessor.
    let cases = [(Point::Initialised, First::Predecessor), (Point::Ready, First::Successor)];
    let cases = cases.map(|(point, first)| async move {
        let mut line = Line::start(Line::echo().option("--ready-timeout", LIMIT)).await;
        let mut held = client(&line).await;
        let start = line.server.log().len();
        line.stop(point).await;
        let predecessor = line.server.serving();
        let successor = Process::new(predecessor.only_child().await);
        pause(predecessor, &successor, &mut held, PAUSE, first).await;
        has_succeeded(&mut line, start, &successor, held).await;
    });
    at_once(cases).await;
}
