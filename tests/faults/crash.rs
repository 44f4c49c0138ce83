//! R1: a successor that crashes before the commit. The old one never stopped accepting; the successor is reaped; the result
//! is reported; the next restart works.

use portcullis::faults::Point;

use crate::line::{BEFORE_READY, Line};

#[tokio::test]
async fn a_successor_that_dies_at_any_point_changes_nothing() {
    let mut line = Line::start(Line::echo()).await;
    let load = line.load().await;
    for point in BEFORE_READY {
        for fault in ["kill", "exit"] {
            line.fails(point, fault, &["crashed"]).await;
        }
    }
    line.restarts().await;
    load.more(10).await;
    load.stop().await.assert_clean(100);
}

/// What either side says is garbage, or comes to an end.
#[tokio::test]
async fn a_garbled_message_changes_nothing() {
    let mut line = Line::start(Line::echo()).await;
    let load = line.load().await;
    // Before its hello, its claim, its ready.
    for point in [Point::Started, Point::Initialised, Point::Claimed] {
        line.fails(point, "garble", &["rejected"]).await;
        line.fails(point, "cut", &["crashed"]).await;
    }
    let start = line.server.log().len();
    line.fails(Point::Presenting, "garble", &["crashed"]).await;
    let named = |line: &str| line.contains("protocol error of the predecessor in step `manifest`");
    assert_eq!(line.server.log().count_from(start, named), 1, "the successor says why it ends");
    line.restarts().await;
    load.more(10).await;
    load.stop().await.assert_clean(50);
}
