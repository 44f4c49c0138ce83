//! The points at which faults can be ordered are those that are passed: a fault that is ordered where nobody comes by proves
//! nothing.

use std::collections::BTreeSet;

use portcullis::faults::Point;

use harness::Signal;

use crate::line::Line;

#[tokio::test]
async fn each_point_is_passed() {
    let mut line = Line::start(Line::echo()).await;
    line.fails(Point::Started, "exit", &["crashed"]).await;
    line.fails(Point::Told, "sick", &["rolled_back"]).await;
    line.restarts().await;
    line.server.alone().await;
    // Its successor is alone.
    let predecessor = line.stop(Point::Spawned).await;
    predecessor.signal(Signal::KILL);
    line.server.follow().await;

    let passed: BTreeSet<_> = line.faults.passed().into_iter().map(|(_, point)| point).collect();
    let all: BTreeSet<_> = Point::ALL.iter().map(|point| point.as_str().to_owned()).collect();
    assert_eq!(passed, all);
}
