//! R20: after a rollback the pid file names the process that serves. `tests/systemd_*.rs` says the same of `MAINPID`.

use portcullis::faults::Point;

use harness::{Exit, Signal};

use crate::line::Line;

#[tokio::test]
async fn the_pid_file_names_the_serving_process_during_and_after_a_rollback() {
    let mut line = Line::start(Line::echo()).await;
    let predecessor = line.server.serving().pid();
    for (point, names_the_successor) in
        [(Point::Told, false), (Point::Accepting, false), (Point::Passed, true)]
    {
        let start = line.server.log().len();
        let successor = line.stop(point).await;
        let named = if names_the_successor { successor.pid() } else { predecessor };
        assert_eq!(line.server.pid_in_file(), named, "at {point:?}");
        successor.signal(Signal::KILL);
        line.comes_to_nothing(start, &["rolled_back"]).await;
        assert_eq!(line.server.pid_in_file(), predecessor);
    }
    line.fails(Point::Told, "sick", &["rolled_back"]).await;
    assert_eq!(line.server.pid_in_file(), predecessor);
    assert_eq!(line.server.terminate().await, Exit::Code(0));
    assert!(!line.server.pid_file().exists(), "it goes with the one that it names");
}
