//! While a restart is under way, further requests are refused with a reason; a storm of signals leaves a whole server.

use harness::{Echo, Exit, Kind, Load, Signal, within};
use nix::{sys::stat::Mode, unistd::mkfifo};
use portcullis::{Phase, Refusal, RestartError};

#[tokio::test]
async fn a_second_request_is_refused() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let mut server = echo.start().await;
    let load = Load::on(server.target());

    // The successor waits at a gate, so the restart lasts for as long as we want.
    let gate = server.place().path("gate");
    mkfifo(&gate, Mode::S_IRWXU).expect("a directory of ours");
    script.write(&format!("read _ < {}\n{again}", gate.display()));
    server.serving().signal(Signal::USR1);
    let successor = server.serving().only_child().await;

    for refusals in 1..=5 {
        let start = server.log().len();
        server.serving().signal(Signal::USR1);
        let refused = |line: &str| line.contains("restart failed") && line.contains("refused");
        server.log().wait_from(start, "restart failed, refused", refused).await;
        let metrics = server.metrics().await;
        assert_eq!(metrics.sum("portcullis_restarts_total", &[("result", "refused")]), f64::from(refusals));
    }
    assert_eq!(server.serving().children(), [successor], "the one restart goes on, and no other");

    // Opening a fifo waits for the reader, and a reader whose writer is gone reads an empty line.
    tokio::task::spawn_blocking(move || std::fs::write(gate, "\n"))
        .await
        .expect("no panic")
        .expect("the reader is there");
    let predecessor = server.follow().await;
    assert_eq!(server.serving().pid(), successor);
    assert_eq!(predecessor.ended().await, Exit::Code(0));
    load.more(10).await;
    load.stop().await.assert_clean(10);
}

#[tokio::test]
async fn a_storm_of_requests_is_one_restart() {
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
    server.alone().await;
    assert_eq!(server.metrics().await.sum("portcullis_generation", &[]), 2.0);
    server.restart().await;
    server.target().visit(1000).await.expect("the third generation serves");
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
