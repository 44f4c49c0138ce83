//! FAULTS C5: a service that panics ends the connection it served, and nothing else.

use std::{io, time::Duration};

use portcullis::{
    Accepted, Generation,
    layers::{
        Connection, LocalAddress,
        metrics::MetricsLayer,
        track::{TrackLayer, Tracker},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tower::ServiceBuilder;

const SOON: Duration = Duration::from_secs(20);

async fn panics_at_nought<C: Connection>(mut connection: C) -> io::Result<()> {
    while let Ok(byte) = connection.read_u8().await {
        assert_ne!(byte, 0, "what this test is about");
        connection.write_u8(byte).await?;
    }
    Ok(())
}

async fn none_open(tracker: &Tracker) {
    timeout(SOON, tracker.wait_idle()).await.expect("no connection is open");
}

#[tokio::test]
async fn a_service_that_panics_before_it_returns_a_future_leaves_the_listener_alone() {
    let generation = Generation::builder().signals(false).start().await.unwrap();
    let listener = generation.listen("echo", "tcp://127.0.0.1:0").unwrap();
    let LocalAddress::Ip(address) = *listener.local_address() else { panic!("not a port") };
    let mut calls = 0;
    let serving = tokio::spawn(listener.serve(tower::service_fn(move |connection: Accepted| {
        calls += 1;
        assert_ne!(calls, 1, "what this test is about");
        panics_at_nought(connection)
    })));
    let mut victim = TcpStream::connect(address).await.unwrap();
    assert!(timeout(SOON, victim.read_u8()).await.expect("its connection ends").is_err());
    let mut newcomer = TcpStream::connect(address).await.unwrap();
    newcomer.write_u8(3).await.unwrap();
    assert_eq!(timeout(SOON, newcomer.read_u8()).await.unwrap().unwrap(), 3);
    drop(newcomer);
    generation.drain();
    assert_eq!(timeout(SOON, serving).await.unwrap().unwrap().unwrap().forced, 0);
}

#[tokio::test]
async fn a_service_that_panics_ends_its_connection_and_the_others_go_on() {
    let generation = Generation::builder().signals(false).start().await.unwrap();
    let listener = generation.listen("echo", "tcp://127.0.0.1:0").unwrap();
    let LocalAddress::Ip(address) = *listener.local_address() else { panic!("not a port") };
    let stack = ServiceBuilder::new()
        .layer(MetricsLayer::new("echo"))
        .layer(TrackLayer::new(generation.tracker()))
        .service_fn(panics_at_nought);
    let serving = tokio::spawn(listener.serve(stack));

    let mut bystander = TcpStream::connect(address).await.unwrap();
    bystander.write_u8(1).await.unwrap();
    assert_eq!(timeout(SOON, bystander.read_u8()).await.unwrap().unwrap(), 1);

    let mut victim = TcpStream::connect(address).await.unwrap();
    victim.write_u8(0).await.unwrap();
    let mut rest = Vec::new();
    // Closed or reset: an end in either case.
    _ = timeout(SOON, victim.read_to_end(&mut rest)).await.expect("its connection ends");
    assert!(rest.is_empty());

    bystander.write_u8(2).await.unwrap();
    assert_eq!(timeout(SOON, bystander.read_u8()).await.unwrap().unwrap(), 2);
    let mut newcomer = TcpStream::connect(address).await.unwrap();
    newcomer.write_u8(3).await.unwrap();
    assert_eq!(timeout(SOON, newcomer.read_u8()).await.unwrap().unwrap(), 3);

    drop((bystander, newcomer));
    none_open(&generation.tracker()).await;
    generation.drain();
    assert_eq!(timeout(SOON, serving).await.unwrap().unwrap().unwrap().forced, 0);
}
