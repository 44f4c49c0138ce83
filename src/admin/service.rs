use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use portcullis_layers::track::Tracker;
use tokio::{sync::watch, task::JoinHandle};
use tower::Service;

use super::{Exporter, connections};
use crate::{generation::Generation, lifecycle::Phase, metrics::GenerationMetrics};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Prometheus' text format.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Answers questions about this process over HTTP: a tower HTTP service.
///
/// | path | answer |
/// | --- | --- |
/// | `/` | a page that links to the others |
/// | `/metrics` | what the line of generations has counted, in Prometheus' text format |
/// | `/healthz` | 200 `ok`, as long as the process can answer |
/// | `/readyz` | 200 `serving` while it accepts connections; otherwise 503 and the word of its [`Phase`] |
/// | `/connections` | the open connections, as a JSON array |
///
/// To `GET` and `HEAD` only; another method is answered with 405, another path with 404. Nothing can be changed
/// through it, and nothing secret is shown, but the addresses of peers are: [`AdminStack`](super::AdminStack) says who
/// may ask. It never fails, and is always ready. It needs a tokio runtime: `/metrics` and
/// `/connections` are rendered by a blocking thread.
///
/// It can also be nested in an application's own HTTP server, which then says who may ask.
///
/// # What `/metrics` shows
///
/// - **Counters and histograms of this library** count for all generations: what this process has
///   counted, what draining predecessors count, and what ended ones have left. They go on over
///   restarts and rollbacks without a fall.
/// - **`…connections_active` and `…connections_handshaking`** of this process are shown as they are; those of each older
///   generation that still drains have its number as a further label, `generation="3"`, and vanish with it. So
///   `sum(portcullis_connections_active)` is all that are open, and a long download stays in the graph.
/// - Everything else (what the application counts, `process_*`, `portcullis_generation`, other
///   gauges) is this process' own. `portcullis_generations_draining` says how many older generations
///   there are.
///
/// What an older generation counts is read from memory that it shares, at the time of the scrape; if
/// it is killed (`SIGKILL`, a crash), nothing is lost. The sums of durations are whole microseconds,
/// so that they add up exactly. Where a generation has other buckets than this one, its observations
/// are shown in the next larger of this one's.
///
/// An element of `/connections`:
///
/// ```json
/// {"id": 7, "listener": "echo", "peer": "192.0.2.7:50123", "since": "2026-01-31T12:00:00Z",
///  "age_seconds": 1.5, "bytes_read": 512, "bytes_written": 2048, "activity": "reading",
///  "tls": "TLSv1.3", "identity": "spiffe://example.org/billing"}
/// ```
///
/// `identity` is whom the client's certificate names
/// ([`ClientIdentity`](portcullis_layers::ClientIdentity)), with what is not printable escaped. It and `tls` are `null` where
/// there is none.
///
/// ```
/// use axum::http::{Request, StatusCode};
/// use portcullis::{Phase, admin::{Admin, Exporter}, layers::track::Tracker};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (phase, phases) = tokio::sync::watch::channel(Phase::Starting);
/// let admin = Admin::from_parts(Exporter::install()?, Tracker::new(), phases);
///
/// let request = Request::get("/readyz").body(())?;
/// assert_eq!(admin.clone().oneshot(request.clone()).await?.status(), StatusCode::SERVICE_UNAVAILABLE);
/// phase.send(Phase::Serving)?;
/// assert_eq!(admin.oneshot(request).await?.status(), StatusCode::OK);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    exporter: Exporter,
    tracker: Tracker,
    phase: watch::Receiver<Phase>,
    /// Those of all generations, where this process is one of them.
    metrics: Option<Arc<GenerationMetrics>>,
}

impl Admin {
    /// Shows what `exporter` knows and `generation` has inherited, the connections of `generation`, and where it stands.
    ///
    /// From now on `generation` hands over what `exporter` counts of this library.
    #[must_use]
    pub fn new(generation: &Generation, exporter: Exporter) -> Self {
        let metrics = generation.metrics();
        metrics.attach(exporter.registry());
        let metrics = Some(metrics.clone());
        Self { metrics, ..Self::from_parts(exporter, generation.tracker(), generation.phases()) }
    }

    /// Shows what `exporter` and `tracker` know, and the phase that was sent last. For a process whose phases
    /// somebody else decides; its totals begin with it.
    #[must_use]
    pub const fn from_parts(exporter: Exporter, tracker: Tracker, phase: watch::Receiver<Phase>) -> Self {
        Self { exporter, tracker, phase, metrics: None }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let page: fn(&Self) -> Page = match path {
            "/" => Self::index,
            "/metrics" => |admin| Page::ok(METRICS, admin.metrics()),
            "/healthz" => |_| Page::ok(TEXT, "ok"),
            "/readyz" => Self::readiness,
            "/connections" => Self::connections,
            _ => return Page::new(StatusCode::NOT_FOUND, TEXT, "no such page; see /\n").response(),
        };
        match *method {
            Method::GET => page(self).response(),
            Method::HEAD => page(self).response().map(|_| Full::default()),
            _ => {
                let page = Page::new(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
                let mut response = page.response();
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
        }
    }

    fn metrics(&self) -> String {
        match &self.metrics {
            Some(metrics) => {
                // The gauge shows what was counted last.
                metrics.draining_count();
                self.exporter.render_with(|| metrics.render())
            }
            None => self.exporter.render(),
        }
    }

    fn readiness(&self) -> Page {
        let phase = *self.phase.borrow();
        let status = if phase == Phase::Serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Page::new(status, TEXT, phase.as_str())
    }

    fn connections(&self) -> Page {
        match connections::render(&self.tracker) {
            Ok(json) => Page::ok(JSON, json),
            Err(error) => Page::new(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        }
    }

    fn index(&self) -> Page {
        let phase = self.phase.borrow().as_str();
        let version = env!("CARGO_PKG_VERSION");
        let process = std::process::id();
        Page::ok(
            HTML,
            format!(
                "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>portcullis: {phase}</title>\n\
                 <h1>{phase}</h1>\n<p>portcullis {version}, process {process}\n\
                 <ul>\n\
                 <li><a href=\"/metrics\">/metrics</a>: for Prometheus\n\
                 <li><a href=\"/healthz\">/healthz</a>: does the process answer?\n\
                 <li><a href=\"/readyz\">/readyz</a>: does it accept connections?\n\
                 <li><a href=\"/connections\">/connections</a>: who is connected\n\
                 </ul>\n</html>\n"
            ),
        )
    }
}

impl<B> Service<Request<B>> for Admin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let path = request.uri().path();
        // These may be megabytes, and what takes time must not hold up connections.
        if !matches!(path, "/metrics" | "/connections") {
            return ResponseFuture(State::Ready(Some(self.answer(request.method(), path))));
        }
        let (admin, method, path) = (self.clone(), request.method().clone(), path.to_owned());
        ResponseFuture(State::Blocking(tokio::task::spawn_blocking(move || admin.answer(&method, &path))))
    }
}

/// The future of [`Admin`].
///
/// # Panics
///
/// When it is polled after it has resolved.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(State);

enum State {
    Ready(Option<Response<Full<Bytes>>>),
    Blocking(JoinHandle<Response<Full<Bytes>>>),
}

impl Future for ResponseFuture {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match &mut self.get_mut().0 {
            State::Ready(response) => response.take().expect("polled after it had resolved"),
            State::Blocking(answering) => ready!(Pin::new(answering).poll(cx)).unwrap_or_else(|error| {
                Page::new(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")).response()
            }),
        };
        Poll::Ready(Ok(response))
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// What is answered, whatever the method.
struct Page {
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
}

impl Page {
    fn new(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, body: body.into() }
    }

    fn ok(content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, content_type, body)
    }

    fn response(self) -> Response<Full<Bytes>> {
        // Said here, because HEAD says it without the body.
        let length = self.body.len().into();
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.content_type);
        headers.insert(header::CONTENT_LENGTH, length);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
