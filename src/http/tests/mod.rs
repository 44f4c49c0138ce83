mod claimed;
#[cfg(feature = "tls")]
mod tls;

use std::{io, sync::Arc, time::Duration};

use axum::{Extension, Router, extract::Request, http::StatusCode, routing::get, routing::post};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_layers::{BoxError, CloseReason, Connection, Drain, Outcome, Peer, track::Tracker};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tower::Service;

pub(crate) use self::claimed::Claimed;
use super::{HttpLeaf, preface::NEWCOMER};

const SOON: Duration = Duration::from_secs(5);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// A router that says `ok`.
fn ok() -> Router {
    Router::new().route("/", get(|| async { "ok" }).post(|body: String| async { body }))
}

/// Serves `router` on `connection` in a task, as a listener would.
fn serve(router: Router, connection: impl Connection) -> JoinHandle<Result<(), BoxError>> {
    tokio::spawn(HttpLeaf::new(router).call(connection))
}

fn in_memory(drain: &Tracker) -> (DuplexStream, Claimed<DuplexStream>) {
    let (client, server) = tokio::io::duplex(16 * 1024);
    (client, Claimed::new(server, Peer::Unknown, drain.drain()))
}

async fn over_tcp(drain: &Tracker) -> (TcpStream, Claimed<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    (client, Claimed::new(server, peer.into(), drain.drain()))
}

/// Reads one response whose body ends with `end`.
async fn read_through(stream: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let n = timeout(SOON, stream.read_buf(&mut read)).await.expect("an answer").unwrap();
        assert_ne!(n, 0, "the connection ended after {:?}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut read = String::new();
    timeout(SOON, stream.read_to_string(&mut read)).await.expect("the end of the stream").unwrap();
    read
}

async fn result(served: JoinHandle<Result<(), BoxError>>) -> Result<(), BoxError> {
    timeout(SOON, served).await.expect("the connection's end").unwrap()
}

#[tokio::test]
async fn a_drain_closes_an_idle_connection_at_once() {
    let drain = Tracker::new();
    let (mut client, server) = over_tcp(&drain).await;
    let served = serve(ok(), server);
    for _ in 0..2 {
        client.write_all(GET).await.unwrap();
        let answer = read_through(&mut client, "\r\n\r\nok").await;
        assert!(!answer.contains("connection: close"), "{answer}");
    }

    drain.start_drain();
    assert_eq!(read_to_end(&mut client).await, "");
    result(served).await.unwrap();
}

#[tokio::test]
async fn a_request_in_flight_is_answered_during_a_drain() {
    let drain = Tracker::new();
    let (mut client, server) = over_tcp(&drain).await;
    let (called, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (handler_called, handler_finish) = (Arc::clone(&called), Arc::clone(&finish));
    let router = Router::new().route(
        "/",
        get(async move || {
            handler_called.notify_one();
            handler_finish.notified().await;
            "at last"
        }),
    );
    let served = serve(router, server);
    client.write_all(GET).await.unwrap();
    timeout(SOON, called.notified()).await.unwrap();

    drain.start_drain();
    tokio::task::yield_now().await;
    finish.notify_one();
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("at last"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    result(served).await.unwrap();
}

#[tokio::test]
async fn a_request_that_has_come_in_part_is_answered_during_a_drain() {
    let drain = Tracker::new();
    let (mut client, server) = in_memory(&drain);
    let served = serve(ok(), server);
    let (some, rest) = GET.split_at(10);
    client.write_all(some).await.unwrap();
    tokio::task::yield_now().await;
    drain.start_drain();
    tokio::task::yield_now().await;
    client.write_all(rest).await.unwrap();
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    result(served).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_first_request_of_a_new_connection_is_answered_during_a_drain() {
    let drain = Tracker::new();
    let (mut client, server) = in_memory(&drain);
    let served = serve(ok(), server);
    drain.start_drain();
    tokio::time::sleep(NEWCOMER / 2).await;

    client.write_all(GET).await.unwrap();
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    result(served).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_without_a_request_does_not_delay_a_drain_for_long() {
    let drain = Tracker::new();
    let (mut client, server) = in_memory(&drain);
    let started = Instant::now();
    let served = serve(ok(), server);
    drain.start_drain();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    served.await.unwrap().unwrap();
    let took = started.elapsed();
    assert!(took >= NEWCOMER && took < NEWCOMER * 2, "{took:?}");

    // An older one is not waited for at all.
    let drain = Tracker::new();
    let (mut client, server) = in_memory(&drain);
    let served = serve(ok(), server);
    tokio::time::sleep(NEWCOMER * 2).await;
    let began = Instant::now();
    drain.start_drain();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    served.await.unwrap().unwrap();
    assert!(began.elapsed() < NEWCOMER / 2);
}

/// A router that switches protocols and gives the stream to the test.
fn upgrading() -> (Router, mpsc::UnboundedReceiver<Upgraded>) {
    let (upgraded, streams) = mpsc::unbounded_channel();
    let router = Router::new().route(
        "/",
        get(async move |request: Request| {
            tokio::spawn(async move { upgraded.send(hyper::upgrade::on(request).await.unwrap()) });
            (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "test")])
        }),
    );
    (router, streams)
}

async fn upgraded(drain: &Tracker) -> (DuplexStream, TokioIo<Upgraded>, JoinHandle<Result<(), BoxError>>) {
    let (mut client, server) = in_memory(drain);
    let (router, mut streams) = upgrading();
    let served = serve(router, server);
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n")
        .await
        .unwrap();
    let answer = read_through(&mut client, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let stream = timeout(SOON, streams.recv()).await.expect("the upgraded stream").unwrap();
    (client, TokioIo::new(stream), served)
}

#[tokio::test]
async fn a_connection_lasts_as_long_as_its_upgraded_stream() {
    let drain = Tracker::new();
    let (mut client, mut stream, served) = upgraded(&drain).await;

    drain.start_drain();
    client.write_all(b"ping").await.unwrap();
    read_through(&mut stream, "ping").await;
    stream.write_all(b"pong").await.unwrap();
    read_through(&mut client, "pong").await;
    assert!(!served.is_finished(), "the stream is alive, and so is the connection");

    drop(stream);
    result(served).await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "");
}

#[tokio::test]
async fn ending_a_connection_ends_both_halves_of_its_upgraded_stream() {
    let (_client, stream, served) = upgraded(&Tracker::new()).await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let reading = tokio::spawn(async move { reader.read(&mut [0]).await });
    // More than the pipe holds: it waits, since the client does not read.
    let writing = tokio::spawn(async move { writer.write_all(&[0; 64 * 1024]).await });
    tokio::task::yield_now().await;
    assert!(!reading.is_finished() && !writing.is_finished());

    served.abort();
    for ended in [
        timeout(SOON, reading).await.expect("the reader to be woken").unwrap().map(|_| ()),
        timeout(SOON, writing).await.expect("the writer to be woken").unwrap(),
    ] {
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}

#[tokio::test]
async fn http2_is_served_by_prior_knowledge_and_drained() {
    let drain = Tracker::new();
    let (client, server) = over_tcp(&drain).await;
    let (called, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (handler_called, handler_finish) = (Arc::clone(&called), Arc::clone(&finish));
    let router = Router::new().route(
        "/",
        post(async move |body: String| {
            handler_called.notify_one();
            handler_finish.notified().await;
            body
        }),
    );
    let served = serve(router, server);
    let (mut requests, client) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
    let client = tokio::spawn(client);
    let request = Request::post("http://test/").body("two".to_owned()).unwrap();
    let answer = tokio::spawn(requests.send_request(request));
    timeout(SOON, called.notified()).await.unwrap();

    drain.start_drain();
    tokio::task::yield_now().await;
    finish.notify_one();
    let answer = timeout(SOON, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.version(), axum::http::Version::HTTP_2);
    let body = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), 16).await.unwrap();
    assert_eq!(body, "two");

    // GOAWAY ends it, although the client would go on.
    result(served).await.unwrap();
    timeout(SOON, client).await.unwrap().unwrap().unwrap();
    assert!(requests.ready().await.is_err());
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_is_read_whole() {
    // It begins as HTTP/2 does.
    let request = b"POST / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 3\r\n\r\nyes";
    let (mut client, server) = tokio::io::duplex(1);
    let served = serve(ok(), server);
    let (mut read, mut write) = tokio::io::split(&mut client);
    let (written, answer) = tokio::join!(write.write_all(request), read_to_end(&mut read));
    written.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("yes"), "{answer}");
    result(served).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_no_request_is_idle_after_the_header_timeout() {
    for sent in ["", "PRI * HT", "GET / HTTP/1.1\r\nhost:"] {
        let started = Instant::now();
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(sent.as_bytes()).await.unwrap();
        let error = HttpLeaf::new(ok())
            .header_timeout(Duration::from_secs(7))
            .call(server)
            .await
            .expect_err("it never sent a request");
        assert_eq!(Outcome::of(Err(&*error)), Outcome::Closed(CloseReason::Idle), "{error} after {sent:?}");
        assert_eq!(started.elapsed().as_secs(), 7, "after {sent:?}");
    }
}

#[tokio::test]
async fn a_peer_that_leaves_without_a_request_is_no_error() {
    let (client, server) = tokio::io::duplex(1024);
    drop(client);
    HttpLeaf::new(ok()).call(server).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_leaves_within_a_request_is_told_apart() {
    for sent in ["P", "PRI * HT", "GET / HTTP/1.1\r\nhost:"] {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(sent.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let error = HttpLeaf::new(ok()).call(server).await.expect_err("it is no request");
        assert_eq!(
            Outcome::of(Err(&*error)),
            Outcome::Closed(CloseReason::ClientEof),
            "{error} after {sent:?}"
        );
    }
}

#[tokio::test]
async fn a_request_knows_its_peer_and_its_drain() {
    let drain = Tracker::new();
    let (mut client, server) = over_tcp(&drain).await;
    let address = client.local_addr().unwrap();
    let router = Router::new().route(
        "/",
        get(async |Extension(peer): Extension<Peer>, Extension(drain): Extension<Drain>| {
            assert!(!drain.is_signaled());
            peer.to_string()
        }),
    );
    let served = serve(router, server);
    client.write_all(GET).await.unwrap();
    read_through(&mut client, &format!("\r\n\r\n{address}")).await;
    drop(client);
    result(served).await.unwrap();
}
