//! R8: `TERM` during a restart, at every step, to either side. It is prompt and graceful: the restart is called off, or the
//! successor goes on alone; and nobody resurrects a service that was told to end.

use std::cell::OnceCell;

use portcullis::faults::Point;

use harness::{Ended, Exit, Fault, Signal, until};

use crate::line::{AFTER_READY, Line, at_once};

/// It is told to end, and has heard it when it goes on.
const TERM: &str = "term delay=100";

/// The other side looks before this one goes on.
const SLOW: &str = "delay=500";

/// Where the predecessor can be before it commits.
const BEFORE_THE_COMMIT: [Point; 8] = [
    Point::Asked,
    Point::Presenting,
    Point::Presented,
    Point::Spawning,
    Point::Spawned,
    Point::Hello,
    Point::Claim,
    Point::Ready,
];

/// And after it.
const AFTER_THE_COMMIT: [Point; 4] = [Point::Committing, Point::Committed, Point::StandingBy, Point::Over];

async fn nobody_is_left(line: &Line) {
    assert!(line.server.processes().is_empty(), "{:?}", line.server.processes());
    assert!(!line.server.pid_file().exists(), "nobody serves");
    let refused = line.server.target().visit(1).await;
    assert!(matches!(refused, Err(Fault::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn term_to_the_predecessor_before_the_commit_ends_both() {
    let cases = BEFORE_THE_COMMIT.map(|point| async move {
        let line = Line::start(Line::echo().option("--drain-timeout", "600s")).await;
        let mut held = line.server.target().connect().await.expect("a connection");
        held.echo(1000).await.expect("an echo");
        line.faults.order(point, TERM);
        let start = line.server.log().len();
        line.server.serving().signal(Signal::USR1);
        let cancelled = |line: &str| line.contains("restart failed") && line.contains("cancelled");
        line.server.log().wait_from(start, "restart failed, cancelled", cancelled).await;
        line.server.serving().no_child_left().await;
        held.echo(1000).await.expect("the drain is graceful");
        held.finish().await.expect("an orderly end");
        assert_eq!(line.server.serving().ended().await, Exit::Code(0), "at {point:?}");
        nobody_is_left(&line).await;
    });
    at_once(cases).await;
}

#[tokio::test]
async fn term_to_the_predecessor_after_the_commit_leaves_the_successor() {
    let cases = AFTER_THE_COMMIT.map(|point| async move {
        // So long that nobody waits for its end; but one has to end, to be over.
        let probation = if point == Point::Over { "200ms" } else { "600s" };
        let mut line = Line::start(Line::echo().probation(probation)).await;
        let mut held = line.server.target().connect().await.expect("a connection");
        held.echo(1000).await.expect("an echo");
        line.faults.order(point, TERM);
        line.server.serving().signal(Signal::USR1);
        let predecessor = line.server.follow().await;
        line.server.log().wait_from(0, "settled", |line| line.contains("settled")).await;
        held.echo(1000).await.expect("the drain is graceful");
        held.finish().await.expect("an orderly end");
        assert_eq!(predecessor.ended().await, Exit::Code(0), "at {point:?}");
        line.server.alone().await;
        assert_eq!(line.server.pid_in_file(), line.server.serving().pid());
        line.server.target().visit(1000).await.expect("the successor serves");
    });
    at_once(cases).await;
}

/// A second signal at once ends it without waiting; the successor is ended with it, or was told to serve before.
#[tokio::test]
async fn a_second_term_to_the_predecessor_ends_it() {
    let cases =
        [Point::Spawned, Point::Hello, Point::Claim, Point::Ready, Point::Committed, Point::StandingBy];
    let cases = cases.map(|point| async move {
        let mut line = Line::start(Line::echo()).await;
        let mut held = line.server.target().connect().await.expect("a connection");
        held.echo(1000).await.expect("an echo");
        let predecessor = line.stop_awhile(point).await;
        for signal in [Signal::TERM, Signal::INT, Signal::CONT] {
            predecessor.signal(signal);
        }
        assert_eq!(predecessor.ended().await, Exit::Code(1), "at {point:?}");
        if AFTER_THE_COMMIT.contains(&point) {
            line.server.follow().await;
            line.server.target().visit(1000).await.expect("the successor serves");
            line.server.alone().await;
        } else {
            until("nobody is left", async || match line.server.processes() {
                none if none.is_empty() => Ok(()),
                left => Err(left),
            })
            .await;
            nobody_is_left(&line).await;
        }
    });
    at_once(cases).await;
}

/// That is a restart which fails, as any in which the successor ends.
#[tokio::test]
async fn term_to_a_successor_before_it_serves_fails_the_restart() {
    let mut line = Line::start(Line::echo()).await;
    let load = line.load().await;
    for point in [Point::Started, Point::Greeted, Point::Inherited, Point::Initialising] {
        line.fails(point, TERM, &["crashed"]).await;
    }
    // It says that it is ready before it looks. A commit that it found by then would count.
    for point in [Point::Initialised, Point::Claimed] {
        line.faults.order(Point::Ready, SLOW);
        line.fails(point, TERM, &["crashed", "rolled_back"]).await;
    }
    line.restarts().await;
    load.stop().await.assert_clean(50);
}

/// Whoever tells it to end means the service: the predecessor must not go on with it.
#[tokio::test]
async fn term_to_a_successor_on_probation_ends_the_service() {
    // Also one that has not read the commit yet: it reads first, and then decides who is the last.
    let cases = AFTER_READY.into_iter().chain([Point::Settled]).map(|point| async move {
        let line = Line::start(Line::echo()).await;
        let mut held = line.server.target().connect().await.expect("a connection");
        held.echo(1000).await.expect("an echo");
        let successor = line.stop_awhile(point).await;
        successor.signal(Signal::TERM);
        successor.signal(Signal::CONT);
        assert!(matches!(successor.ended().await, Exit::Code(0) | Exit::Unknown), "at {point:?}");
        held.echo(1000).await.expect("the predecessor finishes what it has");
        held.finish().await.expect("an orderly end");
        assert_eq!(line.server.serving().ended().await, Exit::Code(0), "at {point:?}");
        let again = |line: &str| line.contains("rolled back");
        assert_eq!(line.server.log().count_from(0, again), 0, "at {point:?}");
        nobody_is_left(&line).await;
    });
    at_once(cases).await;
}

/// Every wait of a successor ends on the first `TERM`, with code 0. One that was started otherwise
/// is a child of this process, which learns the code.
#[tokio::test]
async fn a_successor_exits_with_zero_on_the_first_term_at_every_wait() {
    // The service goes on with the predecessor, which has not committed or is asked to go on.
    let goes_on = [Point::Initialising, Point::Initialised, Point::Claimed, Point::Sick, Point::SteppedBack];
    // And ends with a successor that the predecessor has told to serve.
    let ends = AFTER_READY.into_iter().chain([Point::Settled]);
    let cases = goes_on.map(|point| (point, true)).into_iter().chain(ends.map(|point| (point, false)));
    let cases = cases.map(|(point, goes_on)| async move {
        let (echo, faults) = Line::echo().controlled().faults();
        let mut line = Line::of(echo.clone().start().await, faults);
        let start = line.server.log().len();
        match point {
            Point::Sick | Point::SteppedBack => line.faults.order(Point::Told, "sick"),
            // A commit that it found would count.
            Point::Initialised | Point::Claimed => line.faults.order(Point::Ready, SLOW),
            _ => {}
        }
        let taking_over = OnceCell::new();
        let come = || _ = taking_over.set(tokio::spawn(echo.clone().fail_to_start()));
        let successor = line.faults.stop_and(point, "delay=100", come).await;
        successor.signal(Signal::TERM);
        successor.signal(Signal::CONT);
        let taking_over = taking_over.into_inner().expect("it was started");
        let Ended { exit, said } = taking_over.await.expect("no panic");
        // Once it has read that its predecessor accepts again, it has not done what it was started for.
        let unhealthy = matches!(point, Point::Sick | Point::SteppedBack)
            && said.contains("this generation is unhealthy");
        let expected = exit == Exit::Code(0) || (unhealthy && exit == Exit::Code(1));
        assert!(expected, "at {point:?}: {exit:?}: {said}");
        if goes_on {
            line.comes_to_nothing(start, &["crashed", "rolled_back"]).await;
        } else {
            assert_eq!(line.server.serving().ended().await, Exit::Code(0), "at {point:?}");
            nobody_is_left(&line).await;
        }
    });
    at_once(cases).await;
}

/// Nothing else could serve: the service ends, and nothing is left that names a dead process.
#[tokio::test]
async fn term_to_a_successor_that_is_alone_ends_the_service() {
    let cases = [Point::Initialising, Point::Waiting, Point::Alone].map(|point| async move {
        let line = Line::start(Line::echo()).await;
        let successor = if point == Point::Alone {
            let predecessor = line.stop(Point::Spawned).await;
            let come = || predecessor.signal(Signal::KILL);
            line.faults.stop_and(point, "delay=100", come).await
        } else {
            let successor = line.stop_awhile(point).await;
            line.server.serving().signal(Signal::KILL);
            line.server.serving().ended().await;
            successor
        };
        successor.signal(Signal::TERM);
        successor.signal(Signal::CONT);
        successor.ended().await;
        nobody_is_left(&line).await;
    });
    at_once(cases).await;
}
