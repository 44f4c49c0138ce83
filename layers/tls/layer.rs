//! The layer.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tower::Layer;

use super::{Tls, TlsBuilder, TlsConfigError};

/// How long a handshake may take, unless told otherwise.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves TLS: turns a service for [`TlsStream<C>`](super::TlsStream) into one for `C`.
///
/// See the [module](super) for what is checked and what is not. Cloning is cheap; every clone shares the
/// configuration and, with it, the sessions that can be resumed.
#[derive(Clone)]
pub struct TlsLayer {
    acceptor: TlsAcceptor,
    handshake_timeout: Duration,
}

impl TlsLayer {
    /// TLS 1.2 and 1.3 with the certificate and private key of two PEM files, and the defaults of
    /// [`TlsBuilder`]: no client certificates, no ALPN, 10 seconds for a handshake.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] says which file is wrong, and what to do.
    pub fn from_pem_files(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsConfigError> {
        Self::builder().certificate_files(certificate, key).build()
    }

    /// Configures the layer step by step.
    pub const fn builder() -> TlsBuilder {
        TlsBuilder::new()
    }

    /// Uses a configuration of your own, exactly as it is; 10 seconds for a handshake.
    ///
    /// Two things are then yours to see to. **Resumption:** rustls does not run the client verifier again
    /// when a session is resumed, so a configuration that asks for client certificates should keep no
    /// sessions ([`NoServerSessionStorage`](tokio_rustls::rustls::server::NoServerSessionStorage),
    /// `send_tls13_tickets = 0`, no `ticketer`), and must never share its storage or ticket keys with another
    /// one. **0-RTT:** early data is not delivered to the service; leave `max_early_data_size` at 0.
    #[must_use]
    pub fn from_config(config: Arc<ServerConfig>) -> Self {
        Self { acceptor: TlsAcceptor::from(config), handshake_timeout: HANDSHAKE_TIMEOUT }
    }

    /// How long a handshake may take in all, from the call of the service to its last byte.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// The configuration that is served.
    #[must_use]
    pub fn config(&self) -> &Arc<ServerConfig> {
        self.acceptor.config()
    }

    pub(super) const fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.handshake_timeout
    }
}

impl<S> Layer<S> for TlsLayer {
    type Service = Tls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Tls::new(inner, self.clone())
    }
}

/// Without the configuration: rustls's own output goes down to the certificate resolver, which may be
/// anybody's.
impl fmt::Debug for TlsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLayer").field("handshake_timeout", &self.handshake_timeout).finish_non_exhaustive()
    }
}
