//! TLS: the handshake, in the connection's own task and under a deadline, before the service above is called.
//!
//! [`TlsLayer`] turns a service for [`TlsStream<C>`] into a service for `C`; [`MaybeTlsLayer`] does so or
//! not, by configuration, as one type. The protocol is rustls's, its cryptography aws-lc-rs's, given to
//! rustls in words: no process-wide default provider is read or set.
//!
//! What lives here: configuration from PEM files ([`TlsBuilder`]), the handshake and why it failed
//! ([`HandshakeError`], [`HandshakeFailure`]), the stream, and what was agreed ([`TlsSession`]).
//! What does not: choosing a certificate by server name, revocation, rules about who a client is. A
//! [`rustls::ServerConfig`] of your own may do all of that; give it to [`TlsLayer::from_config`].
//!
//! # What is checked, and by whom
//!
//! - **The version, the cipher, the client's signature**: by rustls. TLS 1.2 and 1.3 only; no renegotiation,
//!   no compression, no 0-RTT.
//! - **A client certificate** ([`ClientAuth`]): by webpki, as rustls uses it, against the CA certificates you
//!   name and nothing else: the chain, the dates of all but the root, that it may be used for client
//!   authentication. Not whether it was revoked, and not *who* it names: every certificate of your CA is let
//!   in. A check that cannot be made fails.
//! - **That the client goes on being allowed**: by nobody. It is checked at the handshake, and the session
//!   lasts as long as the connection. A session is not resumed where client certificates are asked for,
//!   because a resumption skips the verifier.
//! - **The server name**: by nobody. There is one certificate, and a client that asks for another name gets
//!   it and judges for itself.
//!
//! # Example
//!
//! ```
//! use portcullis_layers::{BoxError, Connection, tls::TlsLayer};
//! use tower::{Service, ServiceBuilder, service_fn};
//! # use tokio::io::AsyncWriteExt;
//!
//! async fn greet<C: Connection>(mut connection: C) -> Result<(), BoxError> {
//!     let version = connection.tls().map_or("no TLS", |session| session.version().as_str());
//!     connection.write_all(version.as_bytes()).await?;
//!     connection.shutdown().await?;
//!     Ok(())
//! }
//!
//! # let directory = tempfile::tempdir()?;
//! # let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
//! # let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
//! # std::fs::write(&cert, pair.cert.pem())?;
//! # std::fs::write(&key, pair.signing_key.serialize_pem())?;
//! let mut stack = ServiceBuilder::new()
//!     .layer(TlsLayer::from_pem_files(cert, key)?)
//!     .service(service_fn(greet));
//! # let _: &mut dyn Service<tokio::net::TcpStream, Response = (), Error = BoxError, Future = _> = &mut stack;
//! # Ok::<(), BoxError>(())
//! ```

mod builder;
mod cap;
mod client;
mod config_error;
mod crypto;
mod digest;
mod error;
mod expiry;
mod farewell;
mod future;
mod handshake;
mod layer;
mod live;
mod maybe;
mod names;
mod pem;
mod policy;
mod recipe;
mod revocable;
mod service;
mod session;
mod stream;
mod tickets;
mod version;
mod wire;

pub use builder::TlsBuilder;
pub use cap::HandshakeCap;
pub use client::{
    ClientAuth, ClientIdentity, ClientRoots, ExpiredCrl, IdentityRule, IdentityRules, ParseIdentityRuleError,
    UnknownRevocation,
};
pub use config_error::{PemSource, TlsConfigError};
pub use error::{HandshakeError, HandshakeFailure};
pub use expiry::{Expiry, ExpiryKind};
pub use future::TlsFuture;
pub use layer::TlsLayer;
pub use live::Reloaded;
pub use maybe::{MaybeTls, MaybeTlsFuture, MaybeTlsLayer, MaybeTlsStream};
pub use service::Tls;
pub use session::TlsSession;
pub use stream::TlsStream;
pub use tickets::{TicketKeys, TicketKeysError};
pub use version::{ParseTlsVersionError, TlsVersion};

/// The rustls that this layer is built on: for a [`rustls::ServerConfig`] of your own, and for the types that
/// [`TlsSession`] speaks in.
pub use tokio_rustls::rustls;
