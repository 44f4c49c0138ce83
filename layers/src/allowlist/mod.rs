//! Admits connections from allowed networks, and closes all others before anything is read from them.
//!
//! Here live the set of networks ([`Networks`]), how a network is read from text ([`parse_network`]), and
//! the layer ([`AllowlistLayer`]) that judges a connection by the address of its
//! [`Peer`](crate::Peer). Where that address comes from is not decided here: the socket says it, or a layer
//! further out that has learnt the real one.
//!
//! What is compared is the *canonical* address. An IPv4 client of a dual-stack socket appears as
//! `::ffff:a.b.c.d`; it is judged as `a.b.c.d`, by the IPv4 networks alone.
//!
//! ```
//! use portcullis_layers::{BoxError, allowlist::AllowlistLayer};
//! use tokio::{io::AsyncWriteExt, net::TcpStream};
//! use tower::ServiceBuilder;
//!
//! async fn greet(mut stream: TcpStream) -> Result<(), BoxError> {
//!     stream.write_all(b"hello\n").await?;
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), BoxError> {
//! let stack = ServiceBuilder::new()
//!     .layer(AllowlistLayer::new(["127.0.0.0/8".parse()?, "::1/128".parse()?]))
//!     .service_fn(greet);
//! # let _ = stack;
//! # Ok(())
//! # }
//! ```

mod error;
mod future;
mod layer;
mod network;
mod networks;
mod ranges;
mod refusal;
mod service;

pub use error::AllowlistError;
pub use future::ResponseFuture;
pub use layer::AllowlistLayer;
pub use network::parse_network;
pub use networks::{NetworkListError, Networks};
pub use refusal::NetworkError;
pub use service::Allowlist;
