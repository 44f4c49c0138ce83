//! FAULTS C5: a service that panics ends the connection it served, and nothing else.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

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
use tracing::{Event, Metadata, Subscriber, span};

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

/// Panics at each line that the listener logs, and counts them.
struct PanicsAtListener(Arc<AtomicUsize>);

impl Subscriber for PanicsAtListener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        if event.metadata().target().starts_with("portcullis::listener") {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("the log is gone");
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(flavor = "current_thread")]
async fn a_log_that_panics_does_not_end_serving() {
    let lines = Arc::<AtomicUsize>::default();
    let _default = tracing::subscriber::set_default(PanicsAtListener(lines.clone()));
    let generation = Generation::builder().signals(false).start().await.unwrap();
    let listener = generation.listen("echo", "tcp://127.0.0.1:0").unwrap();
    let LocalAddress::Ip(address) = *listener.local_address() else { panic!("not a port") };
    let mut calls = 0;
    let serving = tokio::spawn(listener.serve(tower::service_fn(move |connection: Accepted| {
        calls += 1;
        let call = calls;
        assert_ne!(call, 1, "the service panics before it returns a future");
        async move {
            // This is a panic within a panic, when the executor drops the task.
            assert_ne!(call, 2, "the future panics");
            drop(connection);
            if call == 3 { Err(io::Error::other("the service fails")) } else { Ok(()) }
        }
    })));
    for call in 1..=4 {
        let mut client = TcpStream::connect(address).await.unwrap();
        assert!(timeout(SOON, client.read_u8()).await.expect("its connection ends").is_err());
        let logged = async {
            while lines.load(Ordering::Relaxed) < call {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, logged).await.expect("its end is logged");
    }
    generation.drain();
    assert_eq!(timeout(SOON, serving).await.unwrap().unwrap().unwrap().forced, 0);
}
