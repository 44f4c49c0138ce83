//! Keeps a list of the connections that are open, and ends them from outside.
//!
//! Here live the registry ([`Tracker`]), the layer that enters each connection into it ([`TrackLayer`]) and the stream
//! that keeps the entry alive ([`Tracked`]). Deciding *when* to drain and whom to end is not done here: an accept loop or
//! an operator does that, with a clone of the tracker.
//!
//! # What is open
//!
//! A connection is open from the `call` of [`Track`], before anything above it runs, until **both** the future of that `call` and
//! the [`Tracked`] stream are gone. A stream that was moved to another task (an upgraded WebSocket, say)
//! therefore counts until it is dropped there, and is ended like any other.
//!
//! # Where to place it
//!
//! In any place, but inside of metrics, which otherwise cannot tell why a connection was ended. Next to the socket it sees
//! every connection from its start, with its handshake, and counts the encrypted bytes. Above TLS it sees the connections
//! whose handshake is complete, and counts the plain bytes. In both places it learns the version of TLS, and whom the client's
//! certificate names.
//!
//! # What it costs
//!
//! One allocation for each connection: the entry, which the future, the stream and (weakly) the registry share; and one more for
//! the name of a client that shows a certificate. Opening and
//! closing take one lock each. Reading and writing take none: they add to plain integers and store
//! them where a snapshot finds them.
//!
//! # Example
//!
//! ```
//! use portcullis_layers::{BoxError, CloseReason, Outcome, track::{TrackLayer, Tracked, Tracker}};
//! use tokio::io::{AsyncReadExt, DuplexStream, duplex};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let tracker = Tracker::new();
//! let stack = ServiceBuilder::new()
//!     .layer(TrackLayer::new(tracker.clone()).listener("echo"))
//!     .service(service_fn(|mut stream: Tracked<DuplexStream>| async move {
//!         stream.read_u8().await?; // the client never sends it
//!         Ok::<_, BoxError>(())
//!     }));
//!
//! let (server, _client) = duplex(64);
//! let connection = tokio::spawn(stack.oneshot(server));
//! # while tracker.is_empty() { tokio::task::yield_now().await; }
//!
//! // An operator looks, and ends it.
//! let open = tracker.connections();
//! assert_eq!(open[0].listener.as_deref(), Some("echo"));
//! assert!(tracker.close(open[0].id));
//!
//! let error = connection.await?.unwrap_err();
//! assert_eq!(Outcome::of(Err(&*error)), Outcome::Closed(CloseReason::Killed));
//! tracker.wait_idle().await;
//! # Ok(())
//! # }
//! ```

mod activity;
mod entry;
mod error;
mod future;
mod layer;
mod service;
mod snapshot;
mod stream;
mod tracker;

pub use activity::Activity;
pub use error::TrackError;
pub use future::ResponseFuture;
pub use layer::TrackLayer;
pub use service::Track;
pub use snapshot::TrackedConnection;
pub use stream::Tracked;
pub use tracker::Tracker;
