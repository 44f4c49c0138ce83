//! Counts connections, their bytes, their ends and their TLS handshakes.
//!
//! Here live the layer ([`MetricsLayer`]), the stream that counts its bytes ([`Metered`]) and the bounds of the
//! histograms. What is counted goes to the recorder that the program has installed
//! through the [`metrics`](https://docs.rs/metrics) facade; how it leaves the process is not decided here. Why a
//! connection ended is found by [`Outcome::of`](crate::Outcome::of).
//!
//! # The series
//!
//! All begin with a prefix (`portcullis_` by default) and have the label `listener`. Every label is a closed set: never
//! an address, a name from a certificate or the text of an error. All series exist from the moment the layer is built.
//!
//! | series | type | further labels |
//! | --- | --- | --- |
//! | `connections_accepted_total` | counter | |
//! | `connections_active`, `connections_handshaking` | gauge | |
//! | `connections_rejected_total` | counter | `reason`: [`RejectReason`](crate::RejectReason) |
//! | `connections_closed_total` | counter | `reason`: [`CloseReason`](crate::CloseReason) |
//! | `connection_duration_seconds` | histogram | |
//! | `connection_bytes_total` | counter | `direction`: `read`, `written` |
//! | `tls_handshakes_total` | counter | `version`: [`TlsVersion`](crate::TlsVersion), `resumed`: `true`, `false` |
//! | `tls_handshake_failures_total` | counter | `reason`: [`HandshakeFailure`](crate::HandshakeFailure) |
//! | `tls_handshake_duration_seconds` | histogram | `resumed` |
//! | `tls_groups_total` | counter | `group`: as rustls calls it, `none` (resumed without a key exchange), `other` |
//! | `tls_ciphers_total` | counter | `cipher`: as rustls calls it, `other` |
//! | `tls_alpn_total` | counter | `protocol`: `h2`, `http/1.1` and the like, `none`, `other` |
//!
//! The durations are those of the connections that were served and of the handshakes that were completed; what was turned away
//! does not dilute them. When nothing is in flight, **accepted = rejected + handshake failures + closed**, and both gauges are 0.
//!
//! # How an end is counted
//!
//! Once, when both the future of the connection and its stream are gone. The reason is what the future resolved to. A future
//! that is dropped instead says why as well as it can: see [`ResponseFuture`].
//!
//! The stream has its say in both directions. An error that it met (in another task, perhaps, to which an upgrade moved
//! it), or that it was ended with, takes the place of a **success**; without one, a success after the peer's end of stream is
//! `client_eof`, any other `completed`. And an **error** of input or output that says no more than a reset, an early end or
//! a number is `service` if the stream neither failed nor ended: it is that of a file, or of an upstream. A stream that was
//! given back ([`Metered::into_inner`], [`Metered::get_mut`]) can no longer be asked; the error is then taken at its word.
//!
//! # Where to place it
//!
//! **Outermost**, next to the accept loop. There it sees everything: connections that an allowlist or a limit above
//! turns away, handshakes from their start, and those that fail. Bytes are those of the socket, TLS records and all.
//!
//! **Above TLS** it counts what reaches it. Rejections and failed handshakes below it are unknown to it; a
//! handshake is counted when the connection arrives, without its duration; bytes are those of the plain text.
//!
//! A layer around it that drops its future (a `tower::timeout`, or a [`TrackLayer`](crate::track::TrackLayer) whose
//! connection is ended) leaves it no reason to count but `killed`; inside of it, the same timeout is `lifetime`, and what
//! the tracker ends has its reason. So metrics go outside of them.
//!
//! # What it costs
//!
//! One allocation for each connection. The series are registered when the layer is built, and found by index; reading
//! and writing add to plain integers, which are published now and then. No lock, no hash.
//!
//! # Buckets
//!
//! An exporter has to be told the bounds of the histograms, or it may render something else (a summary, in the
//! case of `metrics-exporter-prometheus`): [`CONNECTION_DURATION_BUCKETS`] for names that end in
//! `connection_duration_seconds`, [`HANDSHAKE_DURATION_BUCKETS`] for `tls_handshake_duration_seconds`.
//!
//! # Example
//!
//! ```
//! use metrics_util::debugging::{DebugValue, DebuggingRecorder};
//! use portcullis_layers::{BoxError, metrics::{Metered, MetricsLayer}};
//! use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let recorder = DebuggingRecorder::new();
//! let snapshotter = recorder.snapshotter();
//! recorder.install()?; // before the layer is built
//!
//! let stack = ServiceBuilder::new()
//!     .layer(MetricsLayer::new("greeter"))
//!     .service(service_fn(|mut stream: Metered<DuplexStream>| async move {
//!         stream.write_all(b"hello").await?;
//!         Ok::<_, BoxError>(())
//!     }));
//!
//! let (server, _client) = duplex(64);
//! stack.oneshot(server).await?;
//!
//! let written = snapshotter.snapshot().into_vec().into_iter().find_map(|(key, _, _, value)| {
//!     let key = key.key();
//!     let written = key.labels().any(|label| (label.key(), label.value()) == ("direction", "written"));
//!     (key.name() == "portcullis_connection_bytes_total" && written).then_some(value)
//! });
//! assert_eq!(written, Some(DebugValue::Counter(5)));
//! # Ok(())
//! # }
//! ```

mod buckets;
mod future;
mod label;
mod layer;
mod life;
mod register;
mod series;
mod service;
mod stream;

pub use buckets::{CONNECTION_DURATION_BUCKETS, HANDSHAKE_DURATION_BUCKETS};
pub use future::ResponseFuture;
pub use layer::{DEFAULT_PREFIX, MetricsBuilder, MetricsLayer};
pub use register::series_name;
pub use service::Metrics;
pub use stream::Metered;
