//! TLS or plain by configuration, as one type.
//!
//! A stack whose TLS is a matter of configuration has one type this way.
//! `tower::util::option_layer` does not do it: its two services take streams of two types.

mod above;
mod future;
mod layer;
mod service;

pub use future::ResponseFuture;
pub use layer::MaybeTlsLayer;
pub use service::MaybeTls;

use tokio_util::either::Either;

use super::TlsStream;

/// What the inner service of [`MaybeTls`] gets: a connection with TLS (left) or a plain one
/// (right). [`Connection::tls`](crate::Connection::tls) tells one from the other.
pub type MaybeTlsStream<C> = Either<TlsStream<C>, C>;
