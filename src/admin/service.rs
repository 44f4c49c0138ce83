use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use portcullis_layers::track::Tracker;
use tokio::sync::watch;
use tower::Service;

use super::{Exporter, connections};
use crate::Phase;

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
/// | `/metrics` | what the [`Exporter`] renders, in Prometheus' text format |
/// | `/healthz` | 200 `ok`, as long as the process can answer |
/// | `/readyz` | 200 `serving` while it accepts connections; otherwise 503 and the word of its [`Phase`] |
/// | `/connections` | the open connections, as a JSON array |
///
/// To `GET` and `HEAD` only; another method is answered with 405, another path with 404. Nothing can be changed
/// through it, and nothing secret is shown, but the addresses of peers are: [`AdminStack`](super::AdminStack) says who
/// may ask. It never fails, and is always ready.
///
/// It can also be nested in an application's own HTTP server, which then says who may ask.
///
/// An element of `/connections`:
///
/// ```json
/// {"id": 7, "peer": "192.0.2.7:50123", "since": "2026-01-31T12:00:00Z", "age_seconds": 1.5,
///  "bytes_read": 512, "bytes_written": 2048, "activity": "reading"}
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    exporter: Exporter,
    tracker: Tracker,
    phase: watch::Receiver<Phase>,
}

impl Admin {
    pub(crate) const fn of(exporter: Exporter, tracker: Tracker, phase: watch::Receiver<Phase>) -> Self {
        Self { exporter, tracker, phase }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let answer = match path {
            "/" => self.page(),
            "/metrics" => (StatusCode::OK, METRICS, self.exporter.render().into()),
            "/healthz" => (StatusCode::OK, TEXT, "ok".into()),
            "/readyz" => self.readiness(),
            "/connections" => (StatusCode::OK, JSON, connections::render(&self.tracker).into()),
            _ => (StatusCode::NOT_FOUND, TEXT, "there is no such page; see /\n".into()),
        };
        match *method {
            _ if answer.0 == StatusCode::NOT_FOUND => respond(answer),
            Method::GET => respond(answer),
            Method::HEAD => {
                let mut response = respond(answer);
                *response.body_mut() = Full::default();
                response
            }
            _ => {
                let mut response =
                    respond((StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into()));
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
        }
    }
}
