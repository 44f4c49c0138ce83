//! R22: the task that decides when a generation accepts panics. That generation stops accepting,
//! closes its channels only then and sends nothing, and the program exits with an error. The other
//! generation accepts.

use portcullis::faults::Point;

use harness::{Exit, Load, Server, Signal, until};

use crate::{
    line::{AFTER_READY, BEFORE_READY, Line, at_once, pid_file_names_server},
    queue::Queue,
};

/// Where the predecessor has a successor, up to the commit.
const BEFORE_THE_COMMIT: [Point; 5] =
    [Point::Spawned, Point::Hello, Point::Claim, Point::Ready, Point::Committing];

/// And from then on.
const AFTER_THE_COMMIT: [Point; 4] = [Point::Committed, Point::StandingBy, Point::Over, Point::Draining];

/// Where it has none.
const WITHOUT: [Point; 4] = [Point::Asked, Point::Presenting, Point::Presented, Point::Spawning];

/// `serve` has returned `ServeError::Panicked`, so many times, and the program has reported that.
async fn panics_are_reported(server: &Server, panics: usize) {
    let said = |line: &str| line.contains("the task of this generation has panicked");
    until("the panics are reported", async || match server.log().count_from(0, said) {
        reported if reported == panics => Ok(()),
        reported => Err(reported),
    })
    .await;
}

#[tokio::test]
async fn a_successor_serves_alone_if_its_predecessor_panics_at_any_point() {
    let mut line = Line::start(Line::echo()).await;
    let load = Load::on(line.server.target());
    let mut panics = 0;
    for point in BEFORE_THE_COMMIT.into_iter().chain(AFTER_THE_COMMIT) {
        load.more(10).await;
        line.faults.order(point, "panic");
        line.server.serving().signal(Signal::USR1);
        let predecessor = line.server.follow().await;
        // The first one is a child of this process.
        let exit = predecessor.ended().await;
        assert!(matches!(exit, Exit::Code(1) | Exit::Unknown), "at {point:?}: {exit:?}");
        assert!(line.faults.all_done(), "nothing came by at {point:?}");
        panics += 1;
        panics_are_reported(&line.server, panics).await;
        line.server.alone().await;
        line.server.target().visit(1000).await.expect("the successor serves");
        pid_file_names_server(&line.server);
    }
    line.restarts().await;
    load.more(10).await;
    // What a process was serving ends with it.
    load.stop().await.assert_only_cut_off(100, panics);
}

#[tokio::test]
async fn a_successor_accepts_only_after_its_predecessor_has_stopped() {
    let mut line = Line::start(Line::echo()).await;
    for point in BEFORE_THE_COMMIT {
        line.faults.order(point, "panic");
        // It has found the end of the channel, and does not accept yet.
        let successor = line.stop(Point::Alone).await;
        let queue = Queue::up(line.server.target()).await;
        queue.is_whole(line.server.target());
        successor.signal(Signal::CONT);
        line.server.follow().await;
        assert_eq!(line.server.serving().pid(), successor.pid(), "at {point:?}");
        queue.gets_served().await;
        line.server.alone().await;
        pid_file_names_server(&line.server);
    }
    line.restarts().await;
}

/// An unhealthy generation is better than none.
#[tokio::test]
async fn an_unhealthy_successor_serves_if_its_predecessor_panics() {
    let mut line = Line::start(Line::echo()).await;
    line.faults.order(Point::Told, "sick");
    line.faults.order(Point::RollingBack, "panic");
    line.server.serving().signal(Signal::USR1);
    let predecessor = line.server.serving();
    assert_eq!(predecessor.ended().await, Exit::Code(1));
    line.server.follow().await;
    line.server.target().visit(1000).await.expect("the successor serves");
    line.server.alone().await;
    panics_are_reported(&line.server, 1).await;
    line.restarts().await;
}

#[tokio::test]
async fn a_generation_that_panics_alone_exits_with_an_error_and_without_a_pid_file() {
    let cases = WITHOUT.map(Some).into_iter().chain([None]).map(|point| async move {
        let line = Line::start(Line::echo()).await;
        let (point, signal) = match point {
            Some(point) => (point, Signal::USR1),
            None => (Point::Draining, Signal::TERM),
        };
        line.faults.order(point, "panic");
        line.server.serving().signal(signal);
        assert_eq!(line.server.serving().ended().await, Exit::Code(1), "at {point:?}");
        panics_are_reported(&line.server, 1).await;
        until("no process is left", async || match line.server.processes() {
            none if none.is_empty() => Ok(()),
            left => Err(left),
        })
        .await;
        assert!(!line.server.pid_file().exists(), "at {point:?}: it names a dead process");
    });
    at_once(cases).await;
}

#[tokio::test]
async fn a_successor_that_panics_before_it_accepts_changes_nothing() {
    let mut line = Line::start(Line::echo()).await;
    let load = line.load().await;
    for point in BEFORE_READY {
        line.fails(point, "panic", &["crashed"]).await;
    }
    // The predecessor may not have come to the commit yet.
    line.fails(Point::Waiting, "panic", &["crashed", "rolled_back"]).await;
    line.fails(Point::Told, "panic", &["rolled_back"]).await;
    line.restarts().await;
    load.more(10).await;
    load.stop().await.assert_clean(50);
}

#[tokio::test]
async fn a_successor_that_panics_on_probation_is_rolled_back() {
    let mut line = Line::start(Line::echo()).await;
    let load = line.load().await;
    for point in [Point::Accepting, Point::Probation, Point::Passed] {
        line.fails(point, "panic", &["rolled_back"]).await;
    }
    for point in [Point::Sick, Point::SteppedBack] {
        line.faults.order(Point::Told, "sick");
        line.fails(point, "panic", &["rolled_back"]).await;
    }
    line.restarts().await;
    load.more(10).await;
    load.stop().await.assert_none_turned_away(50);
}

#[tokio::test]
async fn what_queued_while_a_successor_panicked_is_served() {
    let mut line = Line::start(Line::echo()).await;
    for point in AFTER_READY {
        let start = line.server.log().len();
        let come = || line.server.serving().signal(Signal::USR1);
        let successor = line.faults.stop_and(point, "panic", come).await;
        let queue = Queue::up(line.server.target()).await;
        successor.signal(Signal::CONT);
        queue.gets_served().await;
        line.comes_to_nothing(start, &["crashed", "rolled_back"]).await;
    }
    line.restarts().await;
}
