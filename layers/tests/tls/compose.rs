//! tower's own layers around and under TLS.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use portcullis_layers::{
    BoxError, CloseReason, Connection, Outcome, RejectReason,
    tls::{HandshakeError, TlsLayer, TlsStream, rustls::version::TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn,
    timeout::TimeoutLayer,
};

use crate::{
    certificates::Authority,
    ends::{client, connect, serve, server, tcp},
    within::within,
};

/// Greets, and waits for the client to close.
async fn greet<C: Connection>(mut connection: C) -> Result<(), BoxError> {
    connection.write_all(b"hello").await?;
    connection.read_to_end(&mut Vec::new()).await?;
    connection.shutdown().await?;
    Ok(())
}

fn authority_and_layer() -> (Authority, TlsLayer) {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    (authority, layer)
}

async fn is_ready<C, S: Service<C>>(stack: &mut S) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(stack.poll_ready(cx).is_ready())).await
}

/// A limit holds its permit during the handshake and for the life of the connection, in either place.
async fn holds_one<S>(authority: &Authority, mut stack: S)
where
    S: Service<DuplexStream, Response = (), Error = BoxError>,
    S::Future: Send + 'static,
{
    // A client that never begins.
    let (silent, accepted) = duplex(1024);
    let stuck = stack.ready().await.map_err(|_| ()).unwrap().call(accepted);
    assert!(!is_ready(&mut stack).await, "a second handshake may begin");
    drop(stuck);
    assert!(is_ready(&mut stack).await, "a handshake that was dropped has kept its slot");
    drop(silent);

    // A client that is served.
    let (io, accepted) = duplex(16 * 1024);
    let served = tokio::spawn(stack.call(accepted));
    let mut stream = connect(&Arc::new(client(authority, &TLS13, None)), io).await.unwrap();
    within(stream.read_exact(&mut [0; 5])).await.unwrap();
    assert!(!is_ready(&mut stack).await, "a second connection may begin");
    stream.shutdown().await.unwrap();
    within(served).await.unwrap().unwrap();
    assert!(is_ready(&mut stack).await, "a connection that is over has kept its slot");
}

#[tokio::test]
async fn concurrency_limit_around_and_under() {
    let (authority, tls) = authority_and_layer();
    holds_one(&authority, ServiceBuilder::new().concurrency_limit(1).layer(&tls).service_fn(greet)).await;
    holds_one(&authority, ServiceBuilder::new().layer(&tls).concurrency_limit(1).service_fn(greet)).await;
}

#[tokio::test]
async fn load_shed_around_and_under() {
    let (_, tls) = authority_and_layer();
    let around = ServiceBuilder::new().load_shed().layer(&tls).concurrency_limit(1).service_fn(greet);
    sheds(around).await;
    let between = ServiceBuilder::new().load_shed().concurrency_limit(1).layer(&tls).service_fn(greet);
    sheds(between).await;
}

/// The second connection is shed before a byte of TLS.
async fn sheds<S>(mut stack: S)
where
    S: Service<DuplexStream, Response = (), Error = BoxError>,
{
    let (_silent, accepted) = duplex(1024);
    let _first = stack.ready().await.map_err(|_| ()).unwrap().call(accepted);
    let (mut second, accepted) = duplex(1024);
    let error = stack.ready().await.map_err(|_| ()).unwrap().call(accepted).await.unwrap_err();
    assert_eq!(Outcome::of(Err(&*error)), Outcome::Rejected(RejectReason::Overload));
    assert_eq!(second.read(&mut [0; 16]).await.unwrap(), 0);
}

/// Under TLS it is the handshake that costs a client its answer, and the limit above it that says why.
#[tokio::test]
async fn load_shed_under_ends_the_connection_after_its_handshake() {
    let (authority, tls) = authority_and_layer();
    let mut stack = ServiceBuilder::new().layer(&tls).load_shed().concurrency_limit(1).service_fn(greet);
    let config = Arc::new(client(&authority, &TLS13, None));

    let (io, accepted) = tcp().await;
    let first = tokio::spawn(stack.ready().await.unwrap().call(accepted));
    let mut stream = connect(&config, io).await.unwrap();
    within(stream.read_exact(&mut [0; 5])).await.unwrap();

    let (io, accepted) = tcp().await;
    let second = tokio::spawn(stack.ready().await.unwrap().call(accepted));
    let (_, error) = tokio::join!(connect(&config, io), within(second));
    let error = error.unwrap().unwrap_err();
    assert_eq!(Outcome::of(Err(&*error)), Outcome::Rejected(RejectReason::Overload));

    stream.shutdown().await.unwrap();
    within(first).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn timeout_around_bounds_the_handshake_too() {
    let (_, tls) = authority_and_layer();
    let stack = ServiceBuilder::new()
        .timeout(Duration::from_secs(3))
        .layer(&tls)
        .service_fn(greet::<TlsStream<DuplexStream>>);
    let (_silent, accepted) = duplex(1024);
    let started = tokio::time::Instant::now();
    let error = stack.oneshot(accepted).await.unwrap_err();
    assert_eq!(Outcome::of(Err(&*error)), Outcome::Closed(CloseReason::Lifetime));
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn timeout_under_begins_after_the_handshake() {
    let (authority, tls) = authority_and_layer();
    let stack = ServiceBuilder::new()
        .layer(&tls)
        .timeout(Duration::from_secs(3))
        .service_fn(greet::<TlsStream<DuplexStream>>);
    let (io, accepted) = duplex(16 * 1024);
    let served = serve(stack, accepted);
    // Longer than the service may take, shorter than a handshake may.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut stream = connect(&Arc::new(client(&authority, &TLS13, None)), io).await.unwrap();
    stream.read_exact(&mut [0; 5]).await.unwrap();
    let began = tokio::time::Instant::now();
    let error = served.await.unwrap().unwrap_err();
    assert_eq!(Outcome::of(Err(&*error)), Outcome::Closed(CloseReason::Lifetime));
    assert_eq!(began.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn option_layer_around_and_under() {
    let (_, tls) = authority_and_layer();
    for limit in [Some(Duration::from_secs(3)), None] {
        let stack = ServiceBuilder::new()
            .option_layer(limit.map(TimeoutLayer::new))
            .layer(&tls)
            .option_layer(limit.map(|_| ConcurrencyLimitLayer::new(1)))
            .service_fn(greet::<TlsStream<DuplexStream>>);
        let (_silent, accepted) = duplex(1024);
        let error = stack.oneshot(accepted).await.unwrap_err();
        assert_eq!(error.is::<HandshakeError>(), limit.is_none(), "{error:?}");
    }
}

#[tokio::test]
async fn map_request_around_and_under() {
    let (authority, tls) = authority_and_layer();
    let seen = Arc::new(AtomicUsize::new(0));
    let (around, under) = (Arc::clone(&seen), Arc::clone(&seen));
    let stack = ServiceBuilder::new()
        .map_request(move |connection: TcpStream| {
            assert!(connection.tls().is_none());
            around.fetch_add(1, Ordering::Relaxed);
            connection
        })
        .layer(&tls)
        .map_request(move |connection: TlsStream<TcpStream>| {
            assert!(connection.tls().is_some());
            under.fetch_add(10, Ordering::Relaxed);
            connection
        })
        .service_fn(greet);
    let (io, accepted) = tcp().await;
    let served = serve(stack, accepted);
    let mut stream = connect(&Arc::new(client(&authority, &TLS13, None)), io).await.unwrap();
    within(stream.read_exact(&mut [0; 5])).await.unwrap();
    stream.shutdown().await.unwrap();
    within(served).await.unwrap().unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 11);
}

/// TLS in TLS: a layer takes any connection, also one of its own.
#[tokio::test]
async fn tls_over_tls() {
    let (authority, tls) = authority_and_layer();
    let stack = tls.layer(tls.layer(service_fn(greet::<TlsStream<TlsStream<TcpStream>>>)));
    let (io, accepted) = tcp().await;
    let served = serve(stack, accepted);
    let config = Arc::new(client(&authority, &TLS13, None));
    let outer = connect(&config, io).await.unwrap();
    let mut inner = connect(&config, outer).await.unwrap();
    within(inner.read_exact(&mut [0; 5])).await.unwrap();
    inner.shutdown().await.unwrap();
    within(served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_failed_handshake_gives_its_slot_back_before_the_client_has_left() {
    let (_, tls) = authority_and_layer();
    let stack =
        ServiceBuilder::new().layer(&tls).concurrency_limit(1).service_fn(greet::<TlsStream<TcpStream>>);
    let mut stack = stack;
    let (mut io, accepted) = tcp().await;
    let served = stack.ready().await.unwrap().call(accepted);
    io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    // The client has its alert and stays; the connection is polled on its behalf.
    let served = tokio::spawn(served);
    within(io.read_exact(&mut [0; 7])).await.unwrap();
    within(ServiceExt::<TcpStream>::ready(&mut stack)).await.unwrap();
    drop(io);
    assert!(within(served).await.unwrap().is_err());
}
