//! R4: a successor that crashes, hangs or is sick after the commit. The old one accepts again by itself, and nothing that
//! queued meanwhile is lost.

use portcullis::faults::Point;

use harness::{Process, Signal};

use crate::{
    line::{AFTER_READY, Line, at_once},
    queue::Queue,
};

/// One that has accepted nobody, or finishes what it has accepted: nobody notices.
#[tokio::test]
async fn a_rollback_loses_no_connection() {
    let mut line = Line::start(Line::echo()).await;
    let load = line.load().await;
    for fault in ["kill", "exit"] {
        // The predecessor may not have come to the commit yet.
        line.fails(Point::Waiting, fault, &["crashed", "rolled_back"]).await;
        line.fails(Point::Told, fault, &["rolled_back"]).await;
    }
    line.fails(Point::Committing, "garble", &["rolled_back"]).await;
    line.fails(Point::Told, "sick", &["rolled_back"]).await;
    line.restarts().await;
    load.more(10).await;
    load.stop().await.assert_clean(50);
}

/// Whom it was serving is lost with it, and nobody else.
#[tokio::test]
async fn a_successor_that_dies_on_probation_is_rolled_back() {
    let mut line = Line::start(Line::echo()).await;
    let load = line.load().await;
    for point in [Point::Accepting, Point::Probation, Point::Passed] {
        for fault in ["kill", "exit"] {
            line.fails(point, fault, &["rolled_back"]).await;
        }
    }
    // Before its serving, its settled.
    for point in [Point::Accepting, Point::Passed] {
        for fault in ["garble", "cut"] {
            line.fails(point, fault, &["rolled_back"]).await;
        }
    }
    line.restarts().await;
    load.more(10).await;
    load.stop().await.assert_none_turned_away(50);
}

#[tokio::test]
async fn what_queued_while_nobody_accepted_is_served() {
    let mut line = Line::start(Line::echo()).await;
    for point in AFTER_READY {
        let mut held = line.server.target().connect().await.expect("a connection");
        held.echo(1000).await.expect("an echo");
        let start = line.server.log().len();
        let successor = line.stop(point).await;
        let queue = Queue::up(line.server.target()).await;
        if point != Point::Waiting {
            // The predecessor stands by: two must not accept at once.
            queue.is_whole(line.server.target());
        }
        successor.signal(Signal::KILL);
        queue.gets_served().await;
        line.comes_to_nothing(start, &["rolled_back"]).await;
        held.echo(1000).await.expect("the old one goes on with it");
        held.finish().await.expect("an orderly end");
    }
    line.restarts().await;
}

/// It hangs, and is killed at the deadline of its step.
#[tokio::test]
async fn a_successor_that_hangs_on_probation_is_rolled_back() {
    // At the same time, for each waits for its deadline.
    let hangs = AFTER_READY.map(|point| async move {
        let mut line = Line::start(Line::echo().option("--ready-timeout", "3s")).await;
        let start = line.server.log().len();
        let successor = line.stop(point).await;
        let queue = Queue::up(line.server.target()).await;
        queue.gets_served().await;
        line.comes_to_nothing(start, &["rolled_back"]).await;
        assert!(successor.is_over(), "it was killed");
        line.restarts().await;
    });
    at_once(hangs).await;
}

/// It steps back, and ends by itself when its clients are served.
#[tokio::test]
async fn an_unhealthy_successor_finishes_its_connections() {
    let mut line = Line::start(Line::echo()).await;
    line.faults.order(Point::Probation, "delay=1000 sick");
    let start = line.server.log().len();
    line.server.serving().signal(Signal::USR1);
    line.server.log().wait_from(start, "standing by", |line| line.contains("standing by")).await;
    // Only the successor accepts now.
    let mut client = line.server.target().connect().await.expect("a connection");
    client.echo(1000).await.expect("an echo");
    let successor = Process::new(line.server.serving().only_child().await);
    // The log says it once the pid file is written.
    let serves = |line: &str| line.contains("serving generation=2");
    line.server.log().wait_from(start, "serving generation=2", serves).await;
    assert_eq!(line.server.pid_in_file(), successor.pid());

    let rolled_back = |line: &str| line.contains("rolled back");
    line.server.log().wait_from(start, "rolled back", rolled_back).await;
    line.server.target().visit(1000).await.expect("the old one accepts again");
    client.echo(1000).await.expect("the sick one goes on with its client");
    client.finish().await.expect("an orderly end");
    successor.ended().await;
    line.comes_to_nothing(start, &["rolled_back"]).await;
    let said = |line: &str| line.contains("this generation is unhealthy, and its predecessor serves again");
    assert_eq!(line.server.log().count_from(start, said), 1, "it says why it ends");
    line.restarts().await;
}
