//! One connection, from its first byte until its stream is gone.

use std::{pin::pin, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use portcullis_layers::{BoxError, Connection};
use tokio::io::AsyncWriteExt;
use tower::Service;

use super::{
    HttpError,
    caller::{Caller, Introduced},
    held::Held,
    preface::{self, Version},
};

/// How often an HTTP/2 peer is pinged, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How hyper speaks the two protocols.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    header_timeout: Duration,
}

impl Protocols {
    pub(super) fn new(header_timeout: Duration) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(header_timeout);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        // Extended CONNECT (RFC 8441): WebSockets over HTTP/2.
        http2.timer(TokioTimer::new()).enable_connect_protocol();
        // HTTP/2 has no header timeout; a peer that is gone without a word is found by its silence.
        http2.keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_TIMEOUT);
        Self { http1, http2, header_timeout }
    }

    /// Serves the connection. Resolves when its stream is closed, also if an upgrade moved it elsewhere.
    pub(super) async fn serve<C, S, B>(self: Arc<Self>, mut connection: C, service: S) -> Result<(), BoxError>
    where
        C: Connection,
        S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let drain = connection.drain();
        let preface = preface::read(&mut connection, &drain, self.header_timeout).await;
        let Ok(Some((version, preface))) = preface else {
            // Closes a TLS session in good order. It is not worth an error if the peer is gone by now.
            let _ = connection.shutdown().await;
            return preface.map(|_| ()).map_err(Into::into);
        };

        let service = Introduced::new(service, Caller::of(&connection, drain.clone()));
        let (stream, hold) = Held::new(connection, preface);

        // In both arms the connection is polled before the drain, so that hyper has read what had come when the
        // drain began, and answers it. The blocks end hyper's own hold of the stream before its release is awaited.
        let served = match version {
            Version::Http1 => {
                let mut http1 = self.http1.clone();
                // Says `connection: close` in the first answer already, if it is to be the last.
                http1.keep_alive(!drain.is_signaled());
                let mut http = pin!(http1.serve_connection(stream, service).with_upgrades());
                tokio::select! {
                    biased;
                    served = http.as_mut() => served,
                    () = drain.signaled() => {
                        http.as_mut().graceful_shutdown();
                        http.await
                    }
                }
            }
            Version::Http2 => {
                let mut http = pin!(self.http2.serve_connection(stream, service));
                tokio::select! {
                    biased;
                    served = http.as_mut() => served,
                    () = drain.signaled() => {
                        http.as_mut().graceful_shutdown();
                        http.await
                    }
                }
            }
        };
        hold.released().await;
        served.map_err(|error| HttpError::from_hyper(error, self.header_timeout).into())
    }
}
