//! A successor that goes wrong in the middle of the handoff, in any step of it, is killed and reaped, and the server
//! serves on without a pause; once the start command is mended, the next restart succeeds.

mod harness;

use harness::{Echo, Kind, Load, Server, Signal, StartScript, example};

/// The successor's time for each step. Long enough to be served many times meanwhile.
const READY_TIMEOUT: &str = "3s";

struct Line {
    server: Server,
    script: StartScript,
    /// What mends the script.
    again: String,
    load: Load,
}

/// A server under load whose successor will go wrong in this way.
async fn with_successor_that(mode: &str) -> Line {
    let faulty = example("faulty_successor");
    let (echo, script, again) = Echo::new(Kind::Tcp).option("--ready-timeout", READY_TIMEOUT).start_script();
    let server = echo.start().await;
    script.write(&format!("exec {} {mode}", shell_words::quote(faulty.to_str().expect("a path of text"))));
    let mut load = Load::on(server.target());
    load.hold().await;
    load.more(10).await;
    Line { server, script, again, load }
}

impl Line {
    /// Nothing has changed, and the next restart works.
    async fn ends_whole(mut self, result: &str) {
        let server = &mut self.server;
        let metrics = server.metrics().await;
        assert_eq!(
            metrics.sum("portcullis_restarts_total", &[("result", result)]),
            1.0,
            "{:#?}",
            metrics.nonzero()
        );
        assert_eq!(metrics.sum("portcullis_restarts_total", &[]), 1.0, "and no other result");
        assert_eq!(metrics.sum("portcullis_generation", &[]), 1.0);
        assert_eq!(server.get("/readyz").await.status, 200);
        assert_eq!(server.pid_in_file(), server.serving().pid());
        server.serving().no_child_left().await;
        assert_eq!(server.processes(), [server.serving().pid()]);

        self.script.write(&self.again);
        let predecessor = server.restart().await;
        self.load.more(10).await;
        self.load.stop().await.assert_clean(30);
        predecessor.ended().await;
        server.alone().await;
        assert_eq!(server.metrics().await.sum("portcullis_generation", &[]), 2.0);
    }
}

async fn dies(mode: &str, result: &str) {
    let mut line = with_successor_that(mode).await;
    line.server.fail_to_restart(&[result]).await;
    line.load.more(10).await;
    line.ends_whole(result).await;
}

async fn hangs(mode: &str) {
    let line = with_successor_that(mode).await;
    let Line { server, load, .. } = &line;
    let start = server.log().len();
    server.serving().signal(Signal::USR1);
    server.serving().only_child().await;
    // It is on its way or hangs, and meanwhile everybody is served.
    load.more(30).await;
    let failed = |line: &str| line.contains("restart failed");
    assert_eq!(server.log().count_from(start, failed), 0, "served only after the failure");
    let said = server.log().wait_from(start, "restart failed", failed).await;
    assert!(said.contains("timed_out"), "{said}");
    line.ends_whole("timed_out").await;
}

#[tokio::test]
async fn one_that_exits_before_hello() {
    dies("exit-before-hello", "crashed").await;
}

#[tokio::test]
async fn one_that_exits_after_it_has_the_sockets() {
    dies("exit-after-sockets", "crashed").await;
}

#[tokio::test]
async fn one_that_exits_while_it_starts() {
    dies("exit-while-starting", "crashed").await;
}

#[tokio::test]
async fn one_that_hangs_before_hello() {
    hangs("hang-before-hello").await;
}

#[tokio::test]
async fn one_that_hangs_after_it_has_the_sockets() {
    hangs("hang-after-sockets").await;
}

#[tokio::test]
async fn one_that_hangs_before_it_is_ready() {
    hangs("hang-before-ready").await;
}

#[tokio::test]
async fn one_that_speaks_garbage() {
    dies("garbage", "rejected").await;
}
