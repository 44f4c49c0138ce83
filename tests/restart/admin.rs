//! The admin listener is handed on like any other: whoever asks during a restart gets an answer, from the old process
//! or from the new one.

use harness::{Echo, Kind, Metrics, Target, get, until};
use tokio::sync::watch;

#[tokio::test]
async fn scrapes_never_fail_over_restarts() {
    const RESTARTS: u64 = 5;

    let mut server = Echo::new(Kind::Tcp).start().await;
    let address = server.admin();
    let (stop, stopped) = watch::channel(false);
    let scraping = tokio::spawn(async move {
        let mut generations = Vec::new();
        while !*stopped.borrow() {
            // Each over a connection of its own, as it would come at a bad moment.
            let answer = get(address, "/metrics").await.map_err(|error| (error, generations.clone()))?;
            assert_eq!(answer.status, 200);
            generations.push(Metrics::parse(&answer.body).sum("portcullis_generation", &[]) as u64);
            assert_eq!(
                get(address, "/healthz").await.map_err(|error| (error, generations.clone()))?.status,
                200
            );
        }
        Ok::<_, (std::io::Error, Vec<u64>)>(generations)
    });
    for _ in 0..RESTARTS {
        server.restart().await;
        // The successor is asked at least once.
        let generation = server.metrics().await.sum("portcullis_generation", &[]);
        assert!(generation > 1.0);
    }
    stop.send_replace(true);
    let generations = scraping.await.expect("no panic").expect("every scrape succeeds");
    assert!(generations.is_sorted(), "the old one does not answer after the new one: {generations:?}");
    assert_eq!(generations.first(), Some(&1));
    assert_eq!(server.metrics().await.sum("portcullis_generation", &[]), (RESTARTS + 1) as f64);
}

#[tokio::test]
async fn the_admin_port_lists_connections() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    for _ in 0..2 {
        let mut client = server.target().clone().from([127, 0, 5, 6]).connect().await.expect("a connection");
        client.echo(500).await.expect("an echo");
        let listed = until("the client is listed", async || {
            let answer = server.get("/connections").await;
            assert_eq!(answer.status, 200);
            let listed: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
            let ours = listed.as_array().expect("a list").iter().find(|connection| {
                connection["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.5.6:"))
            });
            ours.cloned().ok_or(answer.body)
        })
        .await;
        assert!(listed["id"].is_number(), "{listed}");
        assert!(listed["since"].is_string(), "{listed}");
        client.finish().await.expect("an orderly end");
        until("and gone when it is gone", async || {
            let answer = server.get("/connections").await;
            if answer.body.contains("127.0.5.6") { Err(answer.body) } else { Ok(()) }
        })
        .await;
        server.restart().await;
    }
}

#[tokio::test]
async fn the_admin_port_is_ready_when_the_server_serves() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    for _ in 0..3 {
        assert_eq!(server.get("/readyz").await.status, 200);
        assert_eq!(server.get("/healthz").await.status, 200);
        assert_eq!(server.get("/no-such-page").await.status, 404);
        server.restart().await;
    }
}

#[tokio::test]
async fn the_admin_path_survives_restarts() {
    let echo = Echo::bare();
    let address = echo.place().address(6789);
    let path = echo.place().path("admin.sock");
    let mut server = echo
        .option("--bind", format!("tcp://{address}"))
        .option("--admin", format!("unix://{}", path.display()))
        .start()
        .await;
    for _ in 0..2 {
        let mut client = Target::Unix(path.clone()).connect().await.expect("a connection");
        let answer = client.ask(b"GET /healthz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        server.restart().await;
    }
}
