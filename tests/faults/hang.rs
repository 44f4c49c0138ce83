//! R2: a successor that hangs, or stops reading, in any phase. It is killed at that phase's deadline; else as R1.

use std::{io, time::Duration};

use portcullis::{
    Accepted, Generation, RestartError, StartCommand, Step, faults::Point, layers::LocalAddress,
};

use harness::{Process, Target, within};

use crate::line::{BEFORE_READY, Line, at_once};

/// The successor's time for each step: long enough for one that does not hang.
const READY_TIMEOUT: &str = "2s";

#[tokio::test]
async fn a_successor_that_hangs_at_any_point_is_killed() {
    // At the same time, for each waits for its deadline.
    let hangs = BEFORE_READY.map(|point| async move {
        let mut line = Line::start(Line::echo().option("--ready-timeout", READY_TIMEOUT)).await;
        let mut held = line.server.target().connect().await.expect("a connection");
        let start = line.server.log().len();
        let successor = line.stop(point).await;
        for _ in 0..5 {
            held.echo(1000).await.expect("it is served meanwhile");
            line.server.target().visit(1000).await.expect("and so are others");
        }
        line.comes_to_nothing(start, &["timed_out"]).await;
        assert!(successor.is_over(), "it was killed");
        line.restarts().await;
        held.echo(1000).await.expect("its own generation goes on with it");
        held.finish().await.expect("an orderly end");
    });
    at_once(hangs).await;
}

/// Nobody is killed for being slow, on either side.
#[tokio::test]
async fn a_slow_successor_is_not_killed() {
    let mut line = Line::start(Line::echo()).await;
    let load = line.load().await;
    for point in Point::ALL {
        line.faults.order(*point, "delay=20");
    }
    line.restarts().await;
    load.more(10).await;
    load.stop().await.assert_clean(30);
}

/// What is handed over is more than the socket holds, and the successor does not read it.
#[tokio::test]
async fn a_successor_that_does_not_read_is_killed() {
    let generation = Generation::builder()
        .signals(false)
        .ready_timeout(Duration::from_secs(1))
        .start_command(StartCommand::new("/bin/sleep", ["60"]));
    let generation = generation.start().await.expect("it starts");
    let listener = generation.listen("echo", "tcp://127.0.0.1:0").expect("a port of the kernel's");
    let target = Target::tcp(match listener.local_address() {
        LocalAddress::Ip(at) => *at,
        other => panic!("not an address: {other}"),
    });
    let serving = tokio::spawn(listener.serve(tower::service_fn(async |connection: Accepted| {
        let (mut reader, mut writer) = tokio::io::split(connection);
        tokio::io::copy(&mut reader, &mut writer).await.map(drop)
    })));
    target.visit(1000).await.expect("it serves");
    // Names are in the manifest.
    generation.offer_state("x".repeat(900_000), || async { Ok::<_, io::Error>(Vec::new()) });
    let error = within("the end of the restart", generation.restart()).await.expect_err("nobody reads");
    assert!(matches!(error, RestartError::TimedOut { step: Step::Manifest | Step::Hello, .. }), "{error}");
    let children = Process::new(std::process::id()).children();
    let left =
        children.into_iter().filter(|child| Process::new(*child).command_line().starts_with(b"/bin/sleep\0"));
    assert_eq!(left.count(), 0, "it was killed");
    target.visit(1000).await.expect("it serves");
    generation.drain();
    within("the drain", serving).await.expect("no panic").expect("it drains");
}
