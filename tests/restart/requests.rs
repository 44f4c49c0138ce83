//! A restart that is requested while one is under way runs afterwards, once.

use harness::{Echo, Exit, Kind, Load, Signal, within};
use nix::{sys::stat::Mode, unistd::mkfifo};
use portcullis::{Phase, Refusal, RestartError};

#[tokio::test]
async fn a_request_during_a_restart_runs_after_it() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let mut server = echo.start().await;
    let load = Load::on(server.target());

    // The successor waits at a gate, so the restart lasts for as long as we want.
    let gate = server.place().path("gate");
    mkfifo(&gate, Mode::S_IRWXU).expect("a directory of ours");
    script.write(&format!("read _ < {}\n{again}", gate.display()));
    server.serving().signal(Signal::USR1);
    let successor = server.serving().only_child().await;

    for _ in 1..=5 {
        let start = server.log().len();
        server.serving().signal(Signal::USR1);
        let remembered = |line: &str| line.contains("a restart is requested, and follows the one under way");
        server.log().wait_from(start, "a restart is remembered", remembered).await;
    }
    assert_eq!(server.serving().children(), [successor], "the one restart goes on, and no other");

    // What is started from now on is another program: the newest one runs in the end.
    let newest = server.place().path("newest");
    script.write(&format!("touch {}\n{again}", newest.display()));
    // Opening a fifo waits for the reader, and a reader whose writer is gone reads an empty line.
    tokio::task::spawn_blocking(move || std::fs::write(gate, "\n"))
        .await
        .expect("no panic")
        .expect("the reader is there");
    let predecessor = server.follow().await;
    assert_eq!(predecessor.ended().await, Exit::Code(0));
    // The successor runs the restart that was passed on to it, once for all five requests.
    harness::until("the third generation serves alone", async || {
        let metrics = server.metrics().await;
        let generation = metrics.sum("portcullis_generation", &[]);
        (generation == 3.0 && metrics.sum("portcullis_generations_draining", &[]) == 0.0)
            .then_some(())
            .ok_or(generation)
    })
    .await;
    assert!(newest.exists(), "the newest program runs");
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("portcullis_restarts_total", &[("result", "succeeded")]), 2.0);
    assert_eq!(metrics.sum("portcullis_restarts_total", &[]), 2.0);
    load.more(10).await;
    load.stop().await.assert_clean(10);
}

#[tokio::test]
async fn a_storm_of_requests_is_one_restart_and_one_more() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    let mut load = Load::on(server.target());
    load.hold().await;
    for _ in 0..50 {
        // Each is one for the first generation: the next ones are other processes.
        server.serving().signal(Signal::USR1);
        tokio::task::yield_now().await;
    }
    let predecessor = server.follow().await;
    load.more(20).await;
    load.stop().await.assert_clean(20);
    assert_eq!(predecessor.ended().await, Exit::Code(0));
    // What came while the first was under way is one more restart. Signals are not counted by the
    // kernel, so all fifty may have been one.
    let mut generation = 0.0;
    harness::until("no restart is under way", async || {
        let metrics = server.metrics().await;
        let before = std::mem::replace(&mut generation, metrics.sum("portcullis_generation", &[]));
        let succeeded = metrics.sum("portcullis_restarts_total", &[("result", "succeeded")]);
        (generation >= 2.0 && before == generation && succeeded == generation - 1.0)
            .then_some(())
            .ok_or(generation)
    })
    .await;
    assert!(generation <= 3.0, "{generation}");
    server.target().visit(1000).await.expect("it serves");
}

#[tokio::test]
async fn a_process_that_drains_starts_no_successor() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(10).await.expect("an echo");
    let predecessor = server.restart().await;

    let start = server.log().len();
    predecessor.signal(Signal::USR1);
    let refused = |line: &str| line.contains("restart failed") && line.contains("refused");
    server.log().wait_from(start, "restart failed, refused", refused).await;
    client.echo(10).await.expect("it drains as before");
    client.finish().await.expect("an orderly end");
    assert_eq!(predecessor.ended().await, Exit::Code(0));
    server.alone().await;
}

#[tokio::test]
async fn a_generation_that_starts_or_drains_refuses() {
    let generation = portcullis::Generation::builder().signals(false).start().await.expect("it starts");
    let refused = async || {
        let outcome = within("a refusal", generation.restart()).await;
        let Err(RestartError::Refused(refusal)) = outcome else { panic!("not refused: {outcome:?}") };
        assert_eq!(refusal, Refusal::NotServing);
    };
    // Nothing is served yet, so it still starts.
    refused().await;
    generation.drain();
    within("the drain", generation.phases().wait_for(|phase| *phase == Phase::Draining))
        .await
        .expect("it lives");
    refused().await;
}
