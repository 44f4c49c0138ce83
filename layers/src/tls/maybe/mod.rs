//! TLS or plain by configuration, as one type.
//!
//! With it, a stack has the same type whether TLS is configured or not. `tower::util::option_layer`
//! cannot be used: its two services take different types of streams.

mod above;
mod future;
mod layer;
mod service;

pub use future::ResponseFuture;
pub use layer::MaybeTlsLayer;
pub use service::MaybeTls;

use tokio_util::either::Either;

use super::TlsStream;

/// The stream of the inner service of [`MaybeTls`]: a TLS connection (left) or a plain one (right).
/// [`Connection::tls`](crate::Connection::tls) distinguishes them.
pub type MaybeTlsStream<C> = Either<TlsStream<C>, C>;
