//! Tower layers for raw streams: what happens to one connection before it reaches your service.
//!
//! A layer's service is a [`Service`](tower_service::Service)`<C, Response = ()>` for every [`Connection`] `C`: a TCP or Unix stream, or what
//! a layer below made of one. **The future of `call` is the whole life of the connection**: it resolves when the connection is
//! over, and dropping it ends the connection. The layers know of no listener, process or signal, and work in anybody's
//! accept loop; the crate `portcullis` brings one whose listening socket outlives its process.
//!
//! | layer | what it does | what the service above gets |
//! | --- | --- | --- |
//! | [`metrics::MetricsLayer`] | counts connections, bytes, handshakes and endings | [`metrics::Metered<C>`] |
//! | [`track::TrackLayer`] | keeps a list of open connections, ends one, announces a drain | [`track::Tracked<C>`] |
//! | [`allowlist::AllowlistLayer`] | turns away peers of other networks | `C` |
//! | [`tls::TlsLayer`] | TLS, with client certificates if asked for | [`tls::TlsStream<C>`] |
//! | [`tls::MaybeTlsLayer`] | TLS or plain, by configuration | [`tls::MaybeTlsStream<C>`] |
//!
//! Each is optional, and tower's own layers work around and under them. The order of the table, from the outside in, is the
//! one to begin with: metrics and the list of connections see also those that are turned away, and nobody gets a handshake
//! that may not connect at all.
//!
//! ```
//! use portcullis_layers::{BoxError, Connection, allowlist::AllowlistLayer, track::{TrackLayer, Tracker}};
//! use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::{TcpListener, TcpStream}};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! async fn greet<C: Connection>(mut connection: C) -> std::io::Result<()> {
//!     let greeting = format!("hello, {}\n", connection.peer());
//!     connection.write_all(greeting.as_bytes()).await?;
//!     connection.shutdown().await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let tracker = Tracker::new();
//! let mut stack = ServiceBuilder::new()
//!     .layer(TrackLayer::new(tracker.clone()))
//!     .layer(AllowlistLayer::new(["127.0.0.0/8".parse()?]))
//!     .service_fn(greet);
//!
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let mut client = TcpStream::connect(listener.local_addr()?).await?;
//!
//! // One round of an accept loop: ask the stack, accept, and let the connection live in a task of its own.
//! ServiceExt::<TcpStream>::ready(&mut stack).await?;
//! let (stream, _) = listener.accept().await?;
//! tokio::spawn(stack.call(stream));
//!
//! let mut greeting = String::new();
//! client.read_to_string(&mut greeting).await?;
//! assert!(greeting.starts_with("hello, 127.0.0.1:"));
//! tracker.wait_idle().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Outcome`] classifies why a connection ended; it is a label of the metrics and a field of the
//! log.
//!
//! Unix only, and tried on Linux.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
#[cfg(feature = "allowlist")]
pub mod allowlist;
mod close_signal;
mod connection;
mod delegate;
mod drain;
mod error;
mod label_enum;
#[cfg(feature = "metrics")]
pub mod metrics;
mod outcome;
#[cfg(feature = "tls")]
pub mod tls;
mod tls_info;
#[cfg(feature = "track")]
pub mod track;

pub use address::{LocalAddress, Peer, UnixPeer};
pub use close_signal::{CloseSignal, Closed};
pub use connection::{Connection, ConnectionEvent};
pub use drain::Drain;
pub use error::{BoxError, ErrorChain};
pub use outcome::{CloseReason, HandshakeFailure, Outcome, RejectReason};
pub use tls_info::{ClientIdentity, ParseTlsVersionError, TlsInfo, TlsVersion};

/// What [`delegate_connection!`] names; no part of the API.
#[doc(hidden)]
pub mod __private {
    pub use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
}

/// The code of the README, which is compiled by the tests.
#[cfg(all(doctest, feature = "allowlist", feature = "track"))]
#[doc = include_str!("../README.md")]
struct Readme;
