//! R5: the old process is killed, at every step of the handoff. The successor serves alone once it is ready, and what waits
//! in the queue is served. Whom the old one was serving is lost with it.

use portcullis::faults::Point;

use harness::{Exit, Process, Server, Signal};

use crate::{
    line::{AFTER_READY, BEFORE_READY, Line, at_once},
    queue::Queue,
};

/// Where the old process can be, with a successor.
const WITH_A_SUCCESSOR: [Point; 8] = [
    Point::Spawned,
    Point::Hello,
    Point::Claim,
    Point::Ready,
    Point::Committing,
    Point::Committed,
    Point::StandingBy,
    Point::Over,
];

/// Where it can be, without one.
const WITHOUT: [Point; 4] = [Point::Asked, Point::Presenting, Point::Presented, Point::Spawning];

/// The old one is killed while the successor stands still; once it goes on, it serves whoever queued meanwhile.
async fn goes_on_alone(server: &mut Server, successor: &Process) {
    server.serving().signal(Signal::KILL);
    server.serving().ended().await;
    let queue = Queue::up(server.target()).await;
    queue.is_whole(server.target());
    successor.signal(Signal::CONT);
    server.follow().await;
    assert_eq!(server.serving().pid(), successor.pid());
    queue.gets_served().await;
    server.alone().await;
}

#[tokio::test]
async fn a_successor_serves_alone_if_its_predecessor_dies_at_any_point() {
    let mut line = Line::start(Line::echo()).await;
    for point in WITH_A_SUCCESSOR {
        let predecessor = line.stop(point).await;
        assert_eq!(predecessor.pid(), line.server.serving().pid());
        let queue = Queue::up(line.server.target()).await;
        predecessor.signal(Signal::KILL);
        line.server.follow().await;
        queue.gets_served().await;
        line.server.alone().await;
    }
    line.restarts().await;
}

#[tokio::test]
async fn a_successor_at_any_point_serves_alone() {
    let mut line = Line::start(Line::echo()).await;
    for point in BEFORE_READY.into_iter().chain(AFTER_READY) {
        let successor = line.stop(point).await;
        goes_on_alone(&mut line.server, &successor).await;
    }
    line.restarts().await;
}

/// One that stands still is not dead: whatever the successor makes of it, both agree on who serves once it goes on.
#[tokio::test]
async fn a_stopped_predecessor_and_its_successor_agree_who_serves() {
    let cases = WITH_A_SUCCESSOR.map(|point| async move {
        let mut line = Line::start(Line::echo().option("--ready-timeout", "1s")).await;
        let start = line.server.log().len();
        let predecessor = line.stop(point).await;
        let queue = Queue::up(line.server.target()).await;
        // One that was told to serve does, and settles; another gives up.
        let told = [Point::Committed, Point::StandingBy, Point::Over].contains(&point);
        let said = if told { "settled generation=2" } else { "this process does not serve" };
        line.server.log().wait_from(start, said, |line| line.contains(said)).await;
        predecessor.signal(Signal::CONT);
        queue.gets_served().await;
        if told {
            line.server.follow().await;
            predecessor.ended().await;
        } else {
            // It may have found its successor ready, and have told a dead one to serve.
            line.comes_to_nothing(start, &["crashed", "rolled_back"]).await;
        }
        line.server.alone().await;
        line.restarts().await;
    });
    at_once(cases).await;
}

/// A sick generation is better than none.
#[tokio::test]
async fn an_unhealthy_successor_serves_alone() {
    let mut line = Line::start(Line::echo()).await;
    for point in [Point::Sick, Point::SteppedBack] {
        line.faults.order(Point::Told, "sick");
        // It may get no further than to be told that it is to roll back.
        line.faults.order(Point::RollingBack, "stop");
        let successor = line.stop(point).await;
        goes_on_alone(&mut line.server, &successor).await;
        if !line.faults.all_done() {
            line.faults.withdraw(Point::RollingBack);
        }
    }
    line.restarts().await;
}

/// Before there is a successor, there is nobody: the line ends, as that of any program that is killed.
#[tokio::test]
async fn nothing_serves_if_the_predecessor_dies_without_a_successor() {
    let kills = WITHOUT.map(|point| async move {
        let line = Line::start(Line::echo()).await;
        line.faults.order(point, "kill");
        line.server.serving().signal(Signal::USR1);
        assert_eq!(line.server.serving().ended().await, Exit::Signal(9));
        assert!(line.server.processes().is_empty());
    });
    at_once(kills).await;
}
