//! R24: a successor that stands still while its predecessor decides, and goes on late. It reads all
//! that was sent before it obeys anything.

use portcullis::faults::Point;

use harness::{Echo, Kind, Process, Signal};

use crate::line::{AFTER_READY, Line, at_once, pid_file_names_server};

/// A restart whose successor stands still, and has `commit` and then `abort` in its socket. Its
/// predecessor stands still as well, before it can kill it.
struct TakenBack {
    line: Line,
    start: usize,
    successor: Process,
    predecessor: Process,
}

impl TakenBack {
    async fn new(kind: Kind) -> Self {
        let line = Line::start(Echo::new(kind).probation("200ms").option("--ready-timeout", "2s")).await;
        let start = line.server.log().len();
        let successor = line.stop_awhile(Point::Waiting).await;
        let predecessor = line.faults.stop(Point::CallingOff, || ()).await;
        assert_eq!(predecessor.pid(), line.server.serving().pid());
        assert!(!successor.is_over());
        Self { line, start, successor, predecessor }
    }

    /// The successor obeys `abort`, and the predecessor serves.
    async fn abort_wins(self) {
        let Self { mut line, start, successor, predecessor } = self;
        successor.signal(Signal::CONT);
        successor.ended().await;
        let served = |line: &str| line.contains("serving generation=2");
        assert_eq!(line.server.log().count_from(start, served), 0, "it has not obeyed `commit`");
        assert_eq!(line.server.pid_in_file(), predecessor.pid());
        predecessor.signal(Signal::CONT);
        line.comes_to_nothing(start, &["rolled_back"]).await;
        pid_file_names_server(&line.server);
        let kill = |line: &str| line.contains("kill");
        assert_eq!(line.server.log().count_from(start, kill), 0, "it ended by itself");
        line.restarts().await;
    }
}

#[tokio::test]
async fn an_abort_behind_the_commit_wins() {
    let taken_back = TakenBack::new(Kind::Tcp).await;
    let Line { server, .. } = &taken_back.line;
    let log = server.log().clone();
    let start = taken_back.start;
    taken_back.abort_wins().await;
    let said = |line: &str| line.contains("this process may not serve; its predecessor does");
    assert_eq!(log.count_from(start, said), 1, "the successor logs why it ends");
}

/// It is not the last: the path of the socket is the predecessor's.
#[tokio::test]
async fn a_drain_does_not_win_against_an_unread_abort() {
    let taken_back = TakenBack::new(Kind::Unix).await;
    taken_back.successor.signal(Signal::TERM);
    taken_back.abort_wins().await;
}

/// It is the last: it takes the path of the socket and the pid file with it.
#[tokio::test]
async fn a_drain_does_not_win_against_an_unread_end_of_the_predecessor() {
    let points = [Point::Initialising].into_iter().chain(AFTER_READY).chain([Point::SteppedBack]);
    let cases = points.map(|point| async move {
        let line = Line::start(Echo::new(Kind::Unix).probation("200ms")).await;
        if point == Point::SteppedBack {
            line.faults.order(Point::Told, "sick");
            // It has not been told that the predecessor accepts again.
            line.faults.order(Point::RollingBack, "stop");
        }
        let successor = line.stop_awhile(point).await;
        let predecessor = line.server.serving();
        predecessor.signal(Signal::KILL);
        predecessor.ended().await;
        successor.signal(Signal::TERM);
        successor.signal(Signal::CONT);
        successor.ended().await;
        assert!(line.server.processes().is_empty(), "at {point:?}");
        assert!(!line.server.pid_file().exists(), "at {point:?}: it names a dead process");
        let path = line.server.place().path("echo.sock");
        assert!(!path.exists(), "at {point:?}: nothing serves there");
    });
    at_once(cases).await;
}
