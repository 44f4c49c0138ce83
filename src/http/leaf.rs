use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use portcullis_layers::{BoxError, Connection};
use tower::Service;

use super::serve::Protocols;

const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves a tower HTTP service on each connection it is called with: HTTP/1.1 and HTTP/2 (by prior knowledge or
/// ALPN), with upgrades.
///
/// The service is cloned for each connection, and hyper's adapter clones it for each request and waits until that
/// clone is ready: what it shares belongs behind an `Arc`, as in axum's `Router`.
///
/// # What a request knows
///
/// Its extensions hold the [`Peer`](portcullis_layers::Peer), the [`Drain`](portcullis_layers::Drain) of its
/// connection, and, where the connection is protected by TLS, an `Arc` of the [`TlsInfo`](portcullis_layers::TlsInfo).
///
/// # Drain
///
/// When [`Connection::drain`] begins, requests in flight are answered, and then the connection ends: HTTP/1 answers
/// with `connection: close`, HTTP/2 sends GOAWAY. An idle connection is closed at once. One exception: a connection
/// that has not sent a byte yet is given until five seconds after its start, because its first request may be on its
/// way and would be lost. An upgraded stream (a WebSocket) goes on until the application drops it; it can take the
/// `Drain` from the request to learn when to say goodbye.
///
/// # Timeouts
///
/// A peer has 30 seconds for the first byte, and as long for each complete request head; see
/// [`header_timeout`](Self::header_timeout). An HTTP/1 connection that is kept alive without a request ends by
/// the same timeout, as [`CloseReason::Idle`](portcullis_layers::CloseReason::Idle). An HTTP/2 connection has no such
/// timeout once its preface has come. How long a response may
/// take is for the service to say ([`tower::timeout`]), how long a connection may last, for the stack around this leaf.
///
/// # Cancellation
///
/// The future of `call` is the whole life of the connection. It stays pending while an upgraded stream lives, and
/// if it is dropped, each read and write of that stream fails with [`ConnectionAborted`](std::io::ErrorKind::ConnectionAborted),
/// those that wait included.
///
/// # Errors
///
/// The future fails with an [`HttpError`](super::HttpError). A peer that leaves between two requests, or before the
/// first, is no error.
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use portcullis::{http::HttpLeaf, layers::Peer};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let router = Router::new().route("/", get(|Extension(peer): Extension<Peer>| async move { format!("hello, {peer}") }));
/// let leaf = HttpLeaf::new(router);
///
/// let (mut client, server) = tokio::io::duplex(1024);
/// let connection = tokio::spawn(leaf.oneshot(server));
///
/// client.write_all(b"GET / HTTP/1.1\r\nhost: example\r\nconnection: close\r\n\r\n").await?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer).await?;
/// assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello, unknown"));
/// connection.await?
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct HttpLeaf<S> {
    service: S,
    protocols: Arc<Protocols>,
}

impl<S> HttpLeaf<S> {
    /// Serves `service`.
    #[must_use]
    pub fn new(service: S) -> Self {
        Self { service, protocols: Arc::new(Protocols::new(HEADER_TIMEOUT)) }
    }

    /// How long a peer has for its first byte, and then for each complete HTTP/1 request head. 30 seconds by
    /// default.
    #[must_use]
    pub fn header_timeout(self, timeout: Duration) -> Self {
        Self { protocols: Arc::new(Protocols::new(timeout)), ..self }
    }
}

impl<C, S, B> Service<C> for HttpLeaf<S>
where
    C: Connection,
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = ();
    type Error = BoxError;
    type Future = Serve;

    /// Always ready: the service's own readiness is awaited for each request, where HTTP can wait.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, connection: C) -> Serve {
        let protocols = Arc::clone(&self.protocols);
        Serve { serving: Box::pin(protocols.serve(connection, self.service.clone())) }
    }
}

/// The life of one HTTP connection; the future of [`HttpLeaf`].
///
/// It is boxed: hyper's connection is large, and would be copied by each layer above.
#[must_use = "futures do nothing unless polled"]
pub struct Serve {
    serving: Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>,
}

impl Future for Serve {
    type Output = Result<(), BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.serving.as_mut().poll(cx)
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").finish_non_exhaustive()
    }
}
