//! TLS: the handshake runs in the task of the connection and has a timeout; then the inner service
//! is called.
//!
//! [`TlsLayer`] turns a service for [`TlsStream<C>`] into a service for `C`; [`MaybeTlsLayer`] does
//! so only if TLS is configured, with one type for both cases. The protocol implementation is
//! rustls, with aws-lc-rs (or ring, by a feature) as its cryptography provider. The provider is
//! passed explicitly: the process-wide default is neither read nor set.
//!
//! This module contains the configuration from PEM files ([`TlsBuilder`]) and its reload
//! ([`TlsReloader`]), the handshake and its errors ([`HandshakeError`], [`HandshakeFailure`]), the
//! verification of clients ([`ClientAuth`], [`IdentityRules`]), session tickets ([`TicketKeys`]),
//! the stream, and the negotiated parameters ([`TlsInfo`](crate::TlsInfo)). It does not decide when
//! to reload: the program does, on a signal or when [`TlsReloader::files`] have changed.
//!
//! # What is verified, and by which component
//!
//! - **The version, the cipher suite, the client's signature**: by rustls. TLS 1.2 and 1.3 only; no
//!   renegotiation, no compression, no 0-RTT. A request for renegotiation is declined once, then
//!   the connection is closed (on TLS 1.3 immediately). More than 32 key updates without data in
//!   between also close it.
//! - **A client certificate** ([`ClientAuth`]): by webpki, as used by rustls, against the
//!   configured CA certificates only: the chain, the validity period of every certificate but the
//!   root, and the key usage for client authentication. A check that cannot be performed fails.
//! - **Revocation**: by webpki, if CRLs are configured ([`ClientRoots::crl_file`]); otherwise it is
//!   not checked. The certificate and its intermediates are looked up. If there is no CRL of an
//!   issuer, or if it has expired, the client is denied, unless [`UnknownRevocation`] or
//!   [`ExpiredCrl`] allow it. CRLs are not downloaded, and OCSP is not supported.
//! - **The client's identity** ([`IdentityRules`]): by this layer, after the checks above, by the
//!   exact names in the certificate or its public key. Without rules, every certificate of the
//!   configured CAs is allowed. The service can read the identity in both cases
//!   ([`TlsInfo::client_identity`](crate::TlsInfo::client_identity)). It is as reliable as the
//!   checks of the CA before it signed the certificate.
//! - **A client that resumes a session** sends no certificate, and rustls does not verify it again.
//!   This layer does: before the session is resumed, it verifies the certificate of the original
//!   handshake again, by all of the above. If that fails (for example because it has expired), or
//!   if CAs, CRLs or rules have changed since, the session is not resumed, in any process that
//!   shares the [`TicketKeys`]. The client then makes a full handshake with its current
//!   certificate, which may fail with an alert.
//! - **That a connected client is still allowed**: by this layer, if [`TlsBuilder::end_revoked`] is
//!   set, after each reload that changed CAs or CRLs (rules are settings of the program and change
//!   only with a restart). Otherwise it is not checked, and connections stay open. A connection is
//!   not closed because its certificate expires.
//! - **The server name** ([`TlsBuilder::sni_certificate_files`]): by this layer, to choose a
//!   certificate. A client that requests none of the names gets the default certificate and
//!   verifies it itself, or is rejected ([`TlsBuilder::strict_sni`]). A session is resumed only
//!   with its own name (by rustls).
//! - **The application protocol** ([`TlsBuilder::alpn`]): by rustls, that a client that offers
//!   protocols has one in common; by this layer, that it offers any, if that is required
//!   ([`TlsBuilder::require_alpn`]).
//! - **The number of handshakes in progress** ([`HandshakeLimits`]), in total and of one peer: by
//!   this layer. A connection beyond the limit is closed before anything is read, and counts as
//!   *rejected*, not as failed. Every handshake has an absolute deadline.
//! - **The age of a session** that is resumed ([`TicketKeys`]): by this layer, at most 6 hours.
//! - **The files of a reload**: by this layer, rustls and webpki, before any of them is used: every
//!   file can be read, each key belongs to its certificate, each CA and CRL is valid. If one is
//!   invalid, the error names it, and the old configuration stays in use. It is not verified
//!   whether a server certificate has expired ([`TlsReloader::expiries`]) or is valid for its name.
//!
//! If client certificates are requested, only a `TlsLayer` issues tickets and resumes sessions. A
//! handshake that uses the configuration ([`TlsLayer::config`]) without the layer does neither.
//!
//! With [`TlsLayer::from_config`], rustls does what your configuration defines. The layer performs
//! none of its own checks, and you are responsible for safe session resumption.
//!
//! # Example
//!
//! ```
//! use portcullis_layers::{BoxError, Connection, tls::TlsLayer};
//! use tower::{Service, ServiceBuilder, service_fn};
//! # use tokio::io::AsyncWriteExt;
//!
//! async fn greet<C: Connection>(mut connection: C) -> Result<(), BoxError> {
//!     let version = connection.tls().map_or("no TLS", |tls| tls.version.as_str());
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

mod active_config;
mod builder;
mod client;
mod close_notify;
mod config_error;
mod crypto;
mod digest;
mod error;
mod expiry;
mod future;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod handshake_limits;
mod info;
mod layer;
mod lingering_close;
mod loaded_config;
pub mod maybe;
mod negotiation;
mod observed_io;
mod pem;
mod policy;
mod reloader;
mod revocable;
mod revoked;
mod scope;
mod service;
mod settings;
mod sni;
mod stamp;
mod stream;
mod ticket_keys_error;
mod tickets;
mod version;

pub use crate::outcome::HandshakeFailure;
pub use crate::tls_info::{ClientIdentity, ParseTlsVersionError, TlsVersion};
pub use builder::TlsBuilder;
pub use client::{
    ClientAuth, ClientRoots, ExpiredCrl, IdentityRule, IdentityRules, ParseIdentityRuleError,
    UnknownRevocation,
};
pub use config_error::{PemSource, TlsConfigError};
pub use error::{HandshakeCause, HandshakeError};
pub use expiry::{Expiry, ExpiryKind};
pub use future::ResponseFuture;
pub use handshake_limits::HandshakeLimits;
pub use layer::TlsLayer;
#[doc(no_inline)]
pub use maybe::{MaybeTls, MaybeTlsLayer, MaybeTlsStream};
pub use reloader::{Reloaded, TlsReloader};
pub use revoked::Revoked;
pub use service::Tls;
pub use stamp::FileStamps;
pub use stream::TlsStream;
pub use ticket_keys_error::TicketKeysError;
pub use tickets::TicketKeys;

/// The version of rustls that this layer uses: for a [`rustls::ServerConfig`] of your own, and for
/// the certificates of [`TlsStream::client_certificates`].
pub use tokio_rustls::rustls;
