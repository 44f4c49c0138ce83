//! TLS: the handshake, in the connection's own task and under a deadline, before the service above
//! is called.
//!
//! [`TlsLayer`] turns a service for [`TlsStream<C>`] into a service for `C`; [`MaybeTlsLayer`] does
//! so or not, by configuration, as one type. The protocol is rustls's, its cryptography aws-lc-rs's
//! (or ring's, by a feature), given to rustls in words: no process-wide default provider is read or
//! set.
//!
//! What lives here: configuration from PEM files ([`TlsBuilder`]) and its replacement while it is
//! served ([`TlsReloader`]), the handshake and why it failed ([`HandshakeError`],
//! [`HandshakeFailure`]), who may come in ([`ClientAuth`], [`IdentityRules`]), tickets
//! ([`TicketKeys`]), the stream, and what was agreed ([`TlsInfo`](crate::TlsInfo)). What does not:
//! when to reload. A program does that, on a signal or when [`TlsReloader::files`] have changed.
//!
//! # What is checked, and by whom
//!
//! - **The version, the cipher, the client's signature**: by rustls. TLS 1.2 and 1.3 only; no
//!   renegotiation, no compression, no 0-RTT. A client that asks for another handshake is declined
//!   once and then cut off (on TLS 1.3 at once), and so is one that changes its keys more than 32
//!   times with no data in between.
//! - **A client certificate** ([`ClientAuth`]): by webpki, as rustls uses it, against the CA
//!   certificates you name and nothing else: the chain, the dates of all but the root, that it may
//!   be used for client authentication. A check that cannot be made fails.
//! - **That it was not revoked**: by webpki, where you give revocation lists
//!   ([`ClientRoots::crl_file`]); without one, by nobody. The certificate and its intermediates are
//!   looked up. Where no list says anything, and where the list is out of date, the client is
//!   refused; [`UnknownRevocation`] and [`ExpiredCrl`] choose otherwise. No list is fetched, and
//!   OCSP is not asked.
//! - **Who it is** ([`IdentityRules`]): by this layer, after all of that, by the names of the
//!   certificate as they stand or its public key; without rules, by nobody: every certificate of
//!   your CA is let in. The service is told in either case
//!   ([`TlsInfo::client_identity`](crate::TlsInfo::client_identity)). A name is worth what your CA
//!   did before it signed it.
//! - **A client that resumes a session** shows no certificate, and rustls judges it no more. This
//!   layer does, before the session is resumed: the certificate that was shown before is judged
//!   again, as of now, by all of the above. Where it is no good any more (it has expired, for one),
//!   and where CAs, revocation lists or rules have changed since, the session is not resumed, by
//!   whichever process that shares the [`TicketKeys`]. Its holder makes a full handshake with the
//!   certificate that it has by now, or is told by an alert what is wrong with it.
//! - **That the client goes on being allowed**: where you ask for it ([`TlsBuilder::end_revoked`]),
//!   by this layer, after each reload that changed CAs or lists (rules are settings of the program;
//!   they change with the next one); otherwise by nobody, and a connection lasts as long as it
//!   lasts. Nobody ends one whose certificate expires meanwhile.
//! - **The server name** ([`TlsBuilder::sni_certificate_files`]): by this layer, to choose a
//!   certificate. A client that asks for none of the names gets the default certificate and judges
//!   for itself, or is refused ([`TlsBuilder::strict_sni`]). A session is resumed under its own
//!   name only (rustls).
//! - **The application protocol** ([`TlsBuilder::alpn`]): by rustls, that a client which names some
//!   has one in common; by this layer, that it names one at all, where that is asked for
//!   ([`TlsBuilder::require_alpn`]).
//! - **How many handshakes are in progress** ([`HandshakeLimits`]), in all and of one peer: by this
//!   layer. A client beyond that is closed before anything is read of it, and is *rejected*; it has
//!   not failed. All have one absolute deadline.
//! - **How old a session is** that is resumed ([`TicketKeys`]): by this layer, at most 6 hours.
//! - **What a reload has read**: all of it, by this layer, rustls and webpki, before any of it is
//!   served: that every file can be read, each key belongs to its certificate, each CA and list can
//!   be used. What cannot be used is named, and everything stays as it was. Not whether a server
//!   certificate is in its dates ([`TlsReloader::expiries`] tells) or fits its name.
//!
//! Where client certificates are asked for, sessions are sealed and resumed by a `TlsLayer` alone:
//! whoever takes the configuration ([`TlsLayer::config`]) and makes handshakes without the layer
//! gives no tickets, and resumes by none.
//!
//! With a configuration of your own ([`TlsLayer::from_config`]) it is as that says: of all this the
//! layer then does nothing, and resumption must be seen to.
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

/// The rustls that this layer is built on: for a [`rustls::ServerConfig`] of your own, and for the
/// certificates of [`TlsStream::client_certificates`].
pub use tokio_rustls::rustls;
