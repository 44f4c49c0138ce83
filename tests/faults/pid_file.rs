//! R20: after a rollback the pid file names the process that serves. `tests/systemd_*.rs` says the same of `MAINPID`.

use portcullis::faults::Point;

use harness::{Exit, Signal};

use crate::line::Line;

#[tokio::test]
async fn the_pid_file_names_the_serving_process_during_and_after_a_rollback() {
    let mut line = Line::start(Line::echo()).await;
    let predecessor = line.server.serving().pid();
    for point in [Point::Told, Point::Accepting, Point::Passed] {
        let start = line.server.log().len();
        let successor = line.stop(point).await;
        let named = line.server.pid_in_file();
        match point {
            Point::Told => assert_eq!(named, predecessor, "the successor does not accept yet"),
            // It is written beside the handoff, as soon as the successor accepts.
            Point::Accepting => assert!([predecessor, successor.pid()].contains(&named), "{named}"),
            _ => assert_eq!(named, successor.pid(), "at {point:?}"),
        }
        successor.signal(Signal::KILL);
        line.comes_to_nothing(start, &["rolled_back"]).await;
        assert_eq!(line.server.pid_in_file(), predecessor);
    }
    line.fails(Point::Told, "sick", &["rolled_back"]).await;
    assert_eq!(line.server.pid_in_file(), predecessor);
    assert_eq!(line.server.terminate().await, Exit::Code(0));
    assert!(!line.server.pid_file().exists(), "it goes with the one that it names");
}

#[tokio::test]
async fn a_drain_during_a_rollback_leaves_no_pid_file_of_the_dead_successor() {
    let line = Line::start(Line::echo()).await;
    line.faults.order(Point::CallingOff, "term delay=300");
    let successor = line.stop(Point::Passed).await;
    assert_eq!(line.server.pid_in_file(), successor.pid());
    successor.signal(Signal::KILL);
    assert_eq!(line.server.serving().ended().await, Exit::Code(0));
    assert!(line.faults.all_done(), "the drain was requested during the rollback");
    assert!(!line.server.pid_file().exists());
}
