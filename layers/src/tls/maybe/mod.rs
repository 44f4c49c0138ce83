//! TLS or plain by configuration, as one type.
//!
//! A stack whose TLS is a matter of configuration has one type this way. `tower::util::option_layer` does
//! not do it: its two services take streams of two types.

mod above;
mod future;
mod layer;
mod service;
mod stream;

pub use future::MaybeTlsFuture;
pub use layer::MaybeTlsLayer;
pub use service::MaybeTls;
pub use stream::MaybeTlsStream;
