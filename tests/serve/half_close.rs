//! A client that is done sending still receives everything, over every kind of listener and across a restart.

use harness::{Echo, Kind, Target};

/// Fits into the buffers in the way, in bytes: the client reads nothing before it has closed its side.
const SMALL: usize = 64 * 1024;

async fn everything_comes_back_after_the_close(target: &Target) {
    let mut client = target.connect().await.expect("a connection");
    let sent = client.send(SMALL).await.expect("bytes are taken");
    client.half_close().await.expect("the client is done");
    client.expect(&sent).await.expect("all that was sent");
    client.expect_end().await.expect("then the server is done, too");
}

async fn an_empty_connection_ends_in_order(target: &Target) {
    target.connect().await.expect("a connection").finish().await.expect("an orderly end");
}

async fn kept(kind: Kind) {
    let mut server = Echo::new(kind).start().await;
    let target = server.target().clone();
    everything_comes_back_after_the_close(&target).await;
    an_empty_connection_ends_in_order(&target).await;

    // A connection that stays with the predecessor closes in halves as before.
    let mut client = target.connect().await.expect("a connection");
    client.echo(10).await.expect("the predecessor has it");
    let predecessor = server.restart().await;
    let sent = client.send(SMALL).await.expect("bytes are taken");
    client.half_close().await.expect("the client is done");
    client.expect(&sent).await.expect("all that was sent");
    client.expect_end().await.expect("then the server is done, too");
    predecessor.ended().await;
}

#[tokio::test]
async fn half_close_is_kept_over_tcp() {
    kept(Kind::Tcp).await;
}

#[tokio::test]
async fn half_close_is_kept_over_unix() {
    kept(Kind::Unix).await;
}

#[tokio::test]
async fn half_close_is_kept_over_tls() {
    kept(Kind::Tls).await;
}
