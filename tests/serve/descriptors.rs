//! Out of descriptors, the server waits instead of spinning, serves those it has, and goes on by itself when there are
//! some again.

use std::time::{Duration, Instant};

use harness::{Client, Echo, HttpConnection, Kind, Metrics, until};

/// Descriptors that the server may open beyond those it has.
const SPARE: usize = 10;
/// Clients; far more than that.
const CLIENTS: usize = 40;

async fn exhausted(admin: &mut HttpConnection) -> f64 {
    let answer = admin.get("/metrics").await.expect("a connection that is open needs no descriptor");
    Metrics::parse(&answer.body).sum("portcullis_accept_errors_total", &[("error", "emfile")])
}

#[tokio::test]
async fn an_exhaustion_of_descriptors_backs_off_and_recovers() {
    let server = Echo::new(Kind::Tcp).start().await;
    // Opened before there are none left.
    let mut admin = HttpConnection::open(server.admin()).await.expect("a connection");
    assert_eq!(exhausted(&mut admin).await, 0.0);
    server.serving().limit_descriptors(Some(SPARE));

    // The kernel completes the connections; the server cannot accept most of them.
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(server.target().connect().await.expect("a place in the queue"));
    }
    until("accept has failed", async || {
        let times = exhausted(&mut admin).await;
        if times >= 5.0 { Ok(()) } else { Err(times) }
    })
    .await;

    // Those that it has are served meanwhile.
    clients[0].echo(10_000).await.expect("an echo");

    // A length of time to measure in, with nothing to wait for.
    let (errors, used, begun) =
        (exhausted(&mut admin).await, server.serving().processor_seconds(), Instant::now());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let used = server.serving().processor_seconds() - used;
    let share = used / begun.elapsed().as_secs_f64();
    assert!(share < 0.25, "the server should be idle, and uses {share:.2} of a processor");
    let errors = exhausted(&mut admin).await - errors;
    assert!(errors < 50.0, "accept should be tried now and then, and failed {errors} times");

    // Each client that leaves makes room for one that waits, down to the last.
    let mut served = 0;
    for mut client in clients {
        client.echo(1000).await.expect("an echo");
        client.finish().await.expect("an orderly end");
        served += 1;
    }
    assert_eq!(served, CLIENTS);
    server.target().visit(1000).await.expect("it goes on");
}
