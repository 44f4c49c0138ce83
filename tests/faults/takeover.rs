//! R1, R4 and R5 for a successor that the predecessor has not started: one that takes over the control path.

use portcullis::faults::Point;

use harness::{Ended, Exit, Signal};

use crate::{
    line::{AFTER_READY, BEFORE_READY, Line},
    queue::Queue,
};

#[tokio::test]
async fn a_takeover_by_a_process_that_is_killed_at_any_point_changes_nothing() {
    let (echo, faults) = Line::echo().controlled().faults();
    let mut line = Line::of(echo.clone().start().await, faults);
    let mut held = line.server.target().connect().await.expect("a connection");
    for point in BEFORE_READY.into_iter().chain(AFTER_READY) {
        line.faults.order(point, "kill");
        let start = line.server.log().len();
        let Ended { exit, said } = echo.clone().fail_to_start().await;
        assert_eq!(exit, Exit::Signal(9), "at {point:?}: {said}");
        if point == Point::Started {
            // It has not asked for anything yet.
            continue;
        }
        line.comes_to_nothing(start, &["crashed", "rolled_back"]).await;
        held.echo(1000).await.expect("the old one goes on with it");
    }
    held.finish().await.expect("an orderly end");
    line.restarts().await;
}

#[tokio::test]
async fn a_takeover_from_a_process_that_is_killed_at_any_point_succeeds() {
    /// Where it can be, once it has sent the sockets.
    const POINTS: [Point; 7] = [
        Point::Presented,
        Point::Claim,
        Point::Ready,
        Point::Committing,
        Point::Committed,
        Point::StandingBy,
        Point::Over,
    ];

    let (echo, faults) = Line::echo().controlled().faults();
    let mut server = echo.clone().start().await;
    for (point, generation) in POINTS.into_iter().zip(2..) {
        let taking_over = std::cell::OnceCell::new();
        let start = || _ = taking_over.set(tokio::spawn(echo.clone().take_over(generation)));
        let predecessor = faults.stop(point, start).await;
        assert_eq!(predecessor.pid(), server.serving().pid(), "at {point:?}");
        let queue = Queue::up(server.target()).await;
        predecessor.signal(Signal::KILL);
        let taking_over = taking_over.into_inner().expect("it was started");
        server = taking_over.await.expect("no panic");
        queue.gets_served().await;
        assert_eq!(server.pid_in_file(), server.serving().pid());
        server.alone().await;
    }
}
