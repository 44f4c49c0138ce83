//! An allowlist on real sockets: denied peers are closed, allowed ones served, whatever of tower's own layers
//! stands around it or under it.

use std::{
    future::{Future, poll_fn},
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use portcullis_layers::{
    BoxError, Connection, Outcome, Peer,
    allowlist::{AllowlistError, AllowlistLayer, Networks},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::either::Either;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const DENIED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Far more than anything here takes; less than anybody waits for a hanging test.
const DEADLINE: Duration = Duration::from_secs(20);

/// Long enough for a connection to be seen open, short enough to wait for.
const SHORT: Duration = Duration::from_millis(50);

fn allowlist() -> AllowlistLayer {
    AllowlistLayer::new([ipnet::IpNet::from(std::net::IpAddr::from(ALLOWED))])
}

async fn echo<C: Connection>(connection: C) -> Result<(), BoxError> {
    let (mut reader, mut writer) = tokio::io::split(connection);
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await?;
    Ok(())
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(DEADLINE, future).await.expect("it takes too long")
}

/// A client that connects from `source`, and the server's end of it.
async fn connect(source: Ipv4Addr) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((ALLOWED, 0)).await.unwrap();
    connect_to(&listener, source).await
}

async fn connect_to(listener: &TcpListener, source: Ipv4Addr) -> (TcpStream, TcpStream) {
    let port = listener.local_addr().unwrap().port();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    let (client, server) =
        within(async { tokio::join!(socket.connect(SocketAddr::from((ALLOWED, port))), listener.accept()) })
            .await;
    (client.unwrap(), server.unwrap().0)
}

async fn assert_served(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut answer = [0; 4];
    within(async {
        client.write_all(b"ping").await.unwrap();
        client.read_exact(&mut answer).await.unwrap();
    })
    .await;
    assert_eq!(&answer, b"ping");
}

/// The server's end was closed, and sent nothing before.
async fn assert_closed(client: &mut (impl AsyncRead + Unpin)) {
    match within(client.read(&mut [0; 16])).await {
        Ok(read) => assert_eq!(read, 0, "a closed connection sends no byte"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// How the connection ended, in the words of the metrics.
fn ending(result: &Result<(), BoxError>) -> &'static str {
    match result {
        Ok(()) => Outcome::of(Ok(())),
        Err(error) => Outcome::of(Err(&**error)),
    }
    .as_str()
}

/// Waits until the stack is ready, and lets the connection live in a task of its own, as an accept loop does.
async fn serve<S, C>(stack: &mut S, connection: C) -> JoinHandle<&'static str>
where
    S: Service<C, Response = (), Error = BoxError>,
    S::Future: Send + 'static,
{
    let life = within(stack.ready()).await.unwrap().call(connection);
    tokio::spawn(async { ending(&life.await) })
}

async fn is_ready<S: Service<TcpStream>>(stack: &mut S) -> bool {
    poll_fn(|cx| Poll::Ready(stack.poll_ready(cx).is_ready())).await
}

/// An allowed connection is served by the stack and completes; a denied one is closed, with the reason.
async fn assert_judges<S>(stack: &mut S)
where
    S: Service<TcpStream, Response = (), Error = BoxError>,
    S::Future: Send + 'static,
{
    let (mut client, server) = connect(DENIED).await;
    let life = serve(stack, server).await;
    assert_closed(&mut client).await;
    assert_eq!(within(life).await.unwrap(), "address");

    let (mut client, server) = connect(ALLOWED).await;
    let life = serve(stack, server).await;
    assert_served(&mut client).await;
    drop(client);
    assert_eq!(within(life).await.unwrap(), "completed");
}

#[tokio::test]
async fn a_denied_peer_is_closed_also_if_it_has_sent_something() {
    let (mut client, server) = connect(DENIED).await;
    client.write_all(b"let me in").await.unwrap();
    within(server.readable()).await.unwrap();
    let stack = ServiceBuilder::new().layer(allowlist()).service_fn(echo::<TcpStream>);
    let error = within(stack.oneshot(server)).await.unwrap_err();
    let peer = Peer::Ip(client.local_addr().unwrap());
    let denied = error.downcast_ref();
    assert!(matches!(denied, Some(AllowlistError::Denied { peer: denied, .. }) if *denied == peer));
    assert_closed(&mut client).await;
}

#[tokio::test]
async fn an_ipv4_client_of_a_dual_stack_socket_matches_its_ipv4_network() {
    let listener = TcpListener::bind("[::]:0").await.unwrap();
    let mut stack = ServiceBuilder::new().layer(allowlist()).service_fn(echo::<TcpStream>);

    let (mut client, server) = connect_to(&listener, ALLOWED).await;
    assert!(server.peer_addr().unwrap().is_ipv6(), "the client appears as a mapped address");
    let _life = serve(&mut stack, server).await;
    assert_served(&mut client).await;

    let (mut client, server) = connect_to(&listener, DENIED).await;
    let life = serve(&mut stack, server).await;
    assert_closed(&mut client).await;
    assert_eq!(within(life).await.unwrap(), "address");
}

#[tokio::test]
async fn an_empty_allowlist_closes_everybody() {
    let mut stack =
        ServiceBuilder::new().layer(AllowlistLayer::from(Networks::default())).service_fn(echo::<TcpStream>);
    for source in [ALLOWED, DENIED] {
        let (mut client, server) = connect(source).await;
        let life = serve(&mut stack, server).await;
        assert_closed(&mut client).await;
        assert_eq!(within(life).await.unwrap(), "address");
    }
}

#[tokio::test]
async fn a_unix_peer_is_closed_unless_allowed_in_words() {
    let mut stack = ServiceBuilder::new().layer(allowlist()).service_fn(echo::<UnixStream>);
    let (mut client, server) = UnixStream::pair().unwrap();
    let life = serve(&mut stack, server).await;
    assert_closed(&mut client).await;
    assert_eq!(within(life).await.unwrap(), "address");

    let mut stack =
        ServiceBuilder::new().layer(allowlist().allow_unix_peers(true)).service_fn(echo::<UnixStream>);
    let (mut client, server) = UnixStream::pair().unwrap();
    let _life = serve(&mut stack, server).await;
    assert_served(&mut client).await;
}

#[tokio::test]
async fn dropping_the_future_ends_an_allowed_connection() {
    let mut stack = ServiceBuilder::new().layer(allowlist()).service_fn(echo::<TcpStream>);
    let (mut client, server) = connect(ALLOWED).await;
    let life = serve(&mut stack, server).await;
    assert_served(&mut client).await;
    life.abort();
    assert_closed(&mut client).await;
}

/// With a limit of one: full while a connection is open, free when it is over, and no slot is lost to the denied.
async fn assert_bounds<S>(mut stack: S)
where
    S: Service<TcpStream, Response = (), Error = BoxError>,
    S::Future: Send + 'static,
{
    for _ in 0..3 {
        let (mut client, server) = connect(DENIED).await;
        let life = serve(&mut stack, server).await;
        assert_closed(&mut client).await;
        assert_eq!(within(life).await.unwrap(), "address");
    }
    let (mut client, server) = connect(ALLOWED).await;
    let life = serve(&mut stack, server).await;
    assert_served(&mut client).await;
    assert!(!is_ready(&mut stack).await, "the limit reaches the accept loop");
    drop(client);
    assert_eq!(within(life).await.unwrap(), "completed");
    assert_judges(&mut stack).await;
}

#[tokio::test]
async fn a_concurrency_limit_under_it_holds_back_the_accept_loop() {
    assert_bounds(
        ServiceBuilder::new().layer(allowlist()).concurrency_limit(1).service_fn(echo::<TcpStream>),
    )
    .await;
}

#[tokio::test]
async fn a_concurrency_limit_around_it_gets_its_slots_back_from_the_denied() {
    assert_bounds(
        ServiceBuilder::new().concurrency_limit(1).layer(allowlist()).service_fn(echo::<TcpStream>),
    )
    .await;
}

/// With a limit of one and a load shed: how a second allowed connection ends, and how a denied one does.
async fn endings_when_full<S>(mut stack: S) -> [&'static str; 2]
where
    S: Service<TcpStream, Response = (), Error = BoxError>,
    S::Future: Send + 'static,
{
    let (mut first, server) = connect(ALLOWED).await;
    let _life = serve(&mut stack, server).await;
    assert_served(&mut first).await;

    let mut endings = [""; 2];
    for (ending, source) in endings.iter_mut().zip([ALLOWED, DENIED]) {
        let (mut client, server) = connect(source).await;
        let life = serve(&mut stack, server).await;
        assert_closed(&mut client).await;
        *ending = within(life).await.unwrap();
    }
    assert_served(&mut first).await;
    endings
}

#[tokio::test]
async fn a_load_shed_around_it_sheds_before_anybody_is_judged() {
    let stack = ServiceBuilder::new()
        .load_shed()
        .layer(allowlist())
        .concurrency_limit(1)
        .service_fn(echo::<TcpStream>);
    assert_eq!(endings_when_full(stack).await, ["overload", "overload"]);
}

#[tokio::test]
async fn a_load_shed_under_it_sheds_allowed_peers_only() {
    let stack = ServiceBuilder::new()
        .layer(allowlist())
        .load_shed()
        .concurrency_limit(1)
        .service_fn(echo::<TcpStream>);
    assert_eq!(endings_when_full(stack).await, ["overload", "address"]);
}

/// A silent allowed connection is ended by the timeout; a denied one is still a denied one.
async fn assert_times_out<S>(mut stack: S)
where
    S: Service<TcpStream, Response = (), Error = BoxError>,
    S::Future: Send + 'static,
{
    let (mut client, server) = connect(ALLOWED).await;
    let life = serve(&mut stack, server).await;
    assert_closed(&mut client).await;
    assert_eq!(within(life).await.unwrap(), "lifetime");

    let (mut client, server) = connect(DENIED).await;
    let life = serve(&mut stack, server).await;
    assert_closed(&mut client).await;
    assert_eq!(within(life).await.unwrap(), "address");
}

#[tokio::test]
async fn a_timeout_around_it_ends_the_connection() {
    assert_times_out(ServiceBuilder::new().timeout(SHORT).layer(allowlist()).service_fn(echo::<TcpStream>))
        .await;
}

#[tokio::test]
async fn a_timeout_under_it_ends_the_connection() {
    assert_times_out(ServiceBuilder::new().layer(allowlist()).timeout(SHORT).service_fn(echo::<TcpStream>))
        .await;
}

#[tokio::test]
async fn it_can_be_optional() {
    let stack = |layer: Option<AllowlistLayer>| {
        ServiceBuilder::new().option_layer(layer).service_fn(echo::<TcpStream>)
    };
    assert_judges(&mut stack(Some(allowlist()))).await;

    let (mut client, server) = connect(DENIED).await;
    let _life = serve(&mut stack(None), server).await;
    assert_served(&mut client).await;
}

#[tokio::test]
async fn an_optional_layer_around_or_under_it_changes_nothing_but_itself() {
    let limit = |limit: Option<usize>| limit.map(tower::limit::ConcurrencyLimitLayer::new);
    for bound in [None, Some(1)] {
        let mut around =
            ServiceBuilder::new().option_layer(limit(bound)).layer(allowlist()).service_fn(echo::<TcpStream>);
        let mut under =
            ServiceBuilder::new().layer(allowlist()).option_layer(limit(bound)).service_fn(echo::<TcpStream>);
        assert_judges(&mut around).await;
        assert_judges(&mut under).await;

        let (mut client, server) = connect(ALLOWED).await;
        let _life = serve(&mut around, server).await;
        assert_served(&mut client).await;
        assert_eq!(is_ready(&mut around).await, bound.is_none());

        let (mut client, server) = connect(ALLOWED).await;
        let _life = serve(&mut under, server).await;
        assert_served(&mut client).await;
        assert_eq!(is_ready(&mut under).await, bound.is_none());
    }
}

#[tokio::test]
async fn a_map_request_around_it_decides_what_is_judged() {
    let mut tcp = ServiceBuilder::new()
        .map_request(Either::<TcpStream, UnixStream>::Left)
        .layer(allowlist())
        .service_fn(echo::<Either<TcpStream, UnixStream>>);
    assert_judges(&mut tcp).await;

    let mut unix = ServiceBuilder::new()
        .map_request(Either::<TcpStream, UnixStream>::Right)
        .layer(allowlist())
        .service_fn(echo::<Either<TcpStream, UnixStream>>);
    let (mut client, server) = UnixStream::pair().unwrap();
    let life = serve(&mut unix, server).await;
    assert_closed(&mut client).await;
    assert_eq!(within(life).await.unwrap(), "address");
}

#[tokio::test]
async fn a_map_request_under_it_sees_allowed_connections_only_and_untouched() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut stack = ServiceBuilder::new()
        .layer(allowlist())
        .map_request({
            let seen = Arc::clone(&seen);
            // That this takes a `TcpStream` is the point: the stream was not wrapped.
            move |stream: TcpStream| {
                seen.lock().unwrap().push(stream.peer_addr().unwrap().ip());
                stream
            }
        })
        .service(service_fn(echo::<TcpStream>));
    assert_judges(&mut stack).await;
    assert_eq!(*seen.lock().unwrap(), [ALLOWED]);
}
