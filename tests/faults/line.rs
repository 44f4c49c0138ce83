//! A line of processes that faults are ordered of, and how it must be after them.

use portcullis::faults::Point;
use tokio::task::{JoinSet, LocalSet};

use harness::{Echo, Faults, Kind, Load, Outcome, Process, Server, Signal, until};

/// What a successor passes before it says that it is ready.
pub(crate) const BEFORE_READY: [Point; 6] = [
    Point::Started,
    Point::Greeted,
    Point::Inherited,
    Point::Initialising,
    Point::Initialised,
    Point::Claimed,
];

/// What it passes from then on until it says that it has settled. The predecessor may commit at any moment.
pub(crate) const AFTER_READY: [Point; 5] =
    [Point::Waiting, Point::Told, Point::Accepting, Point::Probation, Point::Passed];

/// Goes through all cases at the same time: for those that wait for deadlines.
pub(crate) async fn at_once(cases: impl IntoIterator<Item = impl Future<Output = ()> + 'static>) {
    let here = LocalSet::new();
    let mut all = JoinSet::new();
    for case in cases {
        all.spawn_local_on(case, &here);
    }
    here.run_until(all.join_all()).await;
}

/// See the module.
pub(crate) struct Line {
    pub(crate) server: Server,
    pub(crate) faults: Faults,
    /// Restarts that have come to nothing, by the generation that serves.
    failed: u32,
}

impl Line {
    pub(crate) async fn start(echo: Echo) -> Self {
        let (echo, faults) = echo.faults();
        Self::of(echo.start().await, faults)
    }

    /// One that was started with these faults.
    pub(crate) const fn of(server: Server, faults: Faults) -> Self {
        Self { server, faults, failed: 0 }
    }

    /// One of which no faults can be ordered: looking for them takes descriptors.
    pub(crate) async fn unarmed(echo: Echo) -> Self {
        let faults = Faults::at(echo.place().path("faults"));
        Self::of(echo.start().await, faults)
    }

    /// Over TCP, with a probation that is long enough to be something, and short enough to be waited for.
    pub(crate) fn echo() -> Echo {
        Echo::new(Kind::Tcp).probation("200ms")
    }

    pub(crate) async fn load(&self) -> Load {
        let mut load = Load::on(self.server.target());
        load.hold().await;
        load.more(10).await;
        load
    }

    /// A restart with this fault, which comes to nothing: as if it had not been asked for.
    pub(crate) async fn fails(&mut self, point: Point, fault: &str, results: &[&str]) {
        self.faults.order(point, fault);
        let outcome = self.server.try_restart().await;
        let Outcome::Failed(result) = outcome else { panic!("{fault} at {point:?}: {outcome:?}") };
        assert!(results.contains(&&*result), "{fault} at {point:?}: {result}");
        // The point may be just behind the message that ended the restart.
        until(&format!("a process passes {point:?}, where {fault} is ordered"), async || {
            if self.faults.all_done() { Ok(()) } else { Err(self.faults.passed()) }
        })
        .await;
        self.is_as_before(&result).await;
    }

    /// The restart that was asked for comes to nothing, with one of these results.
    pub(crate) async fn comes_to_nothing(&mut self, start: usize, results: &[&str]) {
        let failed = |line: &str| line.contains("restart failed");
        let line = self.server.log().wait_from(start, "restart failed", failed).await;
        let said = |result: &&&str| line.contains(&format!("result=\"{result}\""));
        let result = results.iter().find(said).unwrap_or_else(|| panic!("none of {results:?}: {line}"));
        self.is_as_before(result).await;
    }

    /// Asks for a restart, whose successor stands still at this point.
    pub(crate) async fn stop(&self, point: Point) -> Process {
        self.faults.stop(point, || self.server.serving().signal(Signal::USR1)).await
    }

    /// The same; and when it goes on, there is time to hear of signals.
    pub(crate) async fn stop_awhile(&self, point: Point) -> Process {
        let come = || self.server.serving().signal(Signal::USR1);
        self.faults.stop_and(point, "delay=100", come).await
    }

    /// Whether a line says that the generation that serves has settled.
    pub(crate) fn settled(&self) -> impl Fn(&str) -> bool + use<> {
        let settled = format!("settled generation={}", self.server.generation());
        move |line| line.ends_with(&settled)
    }

    /// A restart came to nothing, with this result: the one that served serves, and nothing else is left of it.
    async fn is_as_before(&mut self, result: &str) {
        let Self { server, failed, .. } = self;
        *failed += 1;
        pid_file_names_server(server);
        server.serving().no_child_left().await;
        let metrics = server.metrics().await;
        let restarts = |labels: &[(&str, &str)]| metrics.sum("portcullis_restarts_total", labels);
        assert!(restarts(&[("result", result)]) >= 1.0, "{:#?}", metrics.nonzero());
        assert_eq!(restarts(&[]) - restarts(&[("result", "succeeded")]), f64::from(*failed));
        assert_eq!(metrics.sum("portcullis_draining", &[]), 0.0);
        assert_eq!(server.get("/readyz").await.status, 200);
        server.target().visit(1000).await.expect("it serves");
        pid_file_names_server(server);
    }

    /// The next restart succeeds.
    pub(crate) async fn restarts(&mut self) {
        let predecessor = self.server.restart().await;
        self.failed = 0;
        self.server.target().visit(1000).await.expect("the successor serves");
        pid_file_names_server(&self.server);
        drop(predecessor);
    }
}

/// The pid file names the process that serves, and that process runs.
#[track_caller]
pub(crate) fn pid_file_names_server(server: &Server) {
    assert_eq!(server.pid_in_file(), server.serving().pid());
    assert!(!server.serving().is_over(), "the pid file names a dead process");
    assert!(!server.serving().is_stopped(), "the pid file names a process that stands still");
}
