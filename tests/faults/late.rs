//! R24: a successor that stands still while its predecessor decides, and goes on late. It reads all
//! that was sent before it obeys anything.

use portcullis::faults::Point;

use harness::{Echo, Kind, Process, Signal};

use crate::line::{AFTER_READY, Line, at_once};

/// A restart whose successor stands still, and has `abort` in its socket. Its predecessor stands
/// still as well, before it can kill it.
struct TakenBack {
    line: Line,
    start: usize,
    successor: Process,
    predecessor: Process,
}

impl TakenBack {
    async fn at(point: Point, kind: Kind) -> Self {
        let line = Line::start(Echo::new(kind).probation("200ms").option("--ready-timeout", "2s")).await;
        let start = line.server.log().len();
        let successor = line.stop_awhile(point).await;
        let predecessor = line.faults.stop(Point::CallingOff, || ()).await;
        assert_eq!(predecessor.pid(), line.server.serving().pid());
        assert!(!successor.is_over());
        Self { line, start, successor, predecessor }
    }

    /// The successor obeys `abort`, and the predecessor serves.
    async fn abort_wins(&mut self) {
        let Self { line, start, successor, predecessor } = self;
        successor.signal(Signal::CONT);
        successor.ended().await;
        predecessor.signal(Signal::CONT);
        line.comes_to_nothing(*start, &["rolled_back"]).await;
        let kill = |line: &str| line.contains("kill");
        assert_eq!(line.server.log().count_from(*start, kill), 0, "it ended by itself");
        line.restarts().await;
    }
}

#[tokio::test]
async fn an_abort_behind_the_commit_wins() {
    let mut taken_back = TakenBack::at(Point::Waiting, Kind::Tcp).await;
    let before = taken_back.line.server.pid_in_file();
    taken_back.successor.signal(Signal::CONT);
    taken_back.successor.ended().await;
    let TakenBack { line, start, predecessor, .. } = &mut taken_back;
    let log = line.server.log().clone();
    let logged = |text: &'static str| log.count_from(*start, |line| line.contains(text));
    assert_eq!(logged("serving generation=2"), 0, "it has not obeyed `commit`");
    assert_eq!(logged("this process does not serve; its predecessor does"), 1, "it logs why it ends");
    assert_eq!((before, line.server.pid_in_file()), (predecessor.pid(), predecessor.pid()));
    predecessor.signal(Signal::CONT);
    line.comes_to_nothing(*start, &["rolled_back"]).await;
    assert_eq!(logged("kill"), 0, "it ended by itself");
    line.restarts().await;
}

#[tokio::test]
async fn a_successor_that_reads_an_abort_late_obeys_it() {
    let cases = AFTER_READY.map(|point| async move {
        TakenBack::at(point, Kind::Tcp).await.abort_wins().await;
    });
    at_once(cases).await;
}

/// It is not the last: the path of the socket is the predecessor's.
#[tokio::test]
async fn a_drain_does_not_win_against_an_unread_abort() {
    let cases = AFTER_READY.map(|point| async move {
        let mut taken_back = TakenBack::at(point, Kind::Unix).await;
        taken_back.successor.signal(Signal::TERM);
        taken_back.abort_wins().await;
    });
    at_once(cases).await;
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
