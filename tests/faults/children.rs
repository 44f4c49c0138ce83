//! R12: a child of the user's own, whenever it is started in a restart and by whichever side, inherits no descriptor of ours.
//! `tests/children_inherit_nothing.rs` says the same of the time before and after, and of a variable that has leaked.

use portcullis::faults::Point;

use harness::Signal;

use crate::line::Line;

#[tokio::test]
async fn children_inherit_nothing_at_any_point_of_a_restart() {
    /// Passed in a restart that comes to nothing, or by one whose predecessor is gone.
    const ELSEWHERE: [Point; 5] =
        [Point::CallingOff, Point::RollingBack, Point::Alone, Point::Sick, Point::SteppedBack];

    let mut line = Line::start(Line::echo()).await;
    for point in Point::ALL.iter().filter(|point| !ELSEWHERE.contains(point)) {
        let mut held = line.server.target().connect().await.expect("a connection");
        held.echo(1000).await.expect("an echo");
        let process = line.stop(*point).await;
        process.assert_nothing_inheritable();
        process.signal(Signal::CONT);
        line.server.follow().await;
        line.server.log().wait_from(0, "settled", line.settled()).await;
        held.finish().await.expect("an orderly end");
        line.server.alone().await;
    }
}
