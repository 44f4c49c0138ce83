//! The layer.

use std::{fmt, sync::Arc, time::Duration};

use tokio_rustls::rustls::ServerConfig;

use super::{HandshakeLimits, active_config::ActiveConfig, handshake_limits::Handshakes};

/// The default handshake timeout.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves TLS: turns a service for [`TlsStream<C>`](super::TlsStream) into one for `C`.
///
/// See the [module](super) for what is verified and what is not. Cloning is cheap; clones share the
/// configuration, its reloads and the sessions that can be resumed.
#[derive(Clone)]
pub struct TlsLayer {
    active: Arc<ActiveConfig>,
    handshakes: Arc<Handshakes>,
    handshake_timeout: Duration,
    ends_revoked: bool,
}

impl TlsLayer {
    /// Uses a rustls configuration of your own without changes. The handshake timeout is 10
    /// seconds. There is no reloader.
    ///
    /// You are responsible for two properties. **Resumption:** rustls does not run the client
    /// verifier again when a session is resumed. So a configuration that requests client
    /// certificates should store no sessions
    /// ([`NoServerSessionStorage`](tokio_rustls::rustls::server::NoServerSessionStorage),
    /// `send_tls13_tickets = 0`, no `ticketer`), and must never share its storage or ticket keys
    /// with another one. **0-RTT:** early data is not delivered to the service; leave
    /// `max_early_data_size` at 0.
    #[must_use]
    pub fn from_config(config: Arc<ServerConfig>) -> Self {
        Self::new(Arc::new(ActiveConfig::fixed(config)), HandshakeLimits::default())
    }

    pub(super) fn new(active: Arc<ActiveConfig>, limits: HandshakeLimits) -> Self {
        Self {
            active,
            handshakes: Arc::new(Handshakes::new(limits)),
            handshake_timeout: HANDSHAKE_TIMEOUT,
            ends_revoked: false,
        }
    }

    /// Sets the timeout of the whole handshake, from `call` to its last byte.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    pub(super) const fn end_revoked(mut self, end: bool) -> Self {
        self.ends_revoked = end;
        self
    }

    /// The current configuration.
    ///
    /// If it requests client certificates, handshakes that use it without a `TlsLayer` issue no
    /// session tickets and resume no session, because the layer verifies returning clients.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.active.current().config.clone()
    }

    pub(super) const fn active(&self) -> &Arc<ActiveConfig> {
        &self.active
    }

    pub(super) const fn handshakes(&self) -> &Arc<Handshakes> {
        &self.handshakes
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.handshake_timeout
    }

    pub(super) const fn ends_revoked(&self) -> bool {
        self.ends_revoked
    }
}

/// Without the configuration: rustls's own output goes down to the certificate resolver, which may
/// be anybody's.
impl fmt::Debug for TlsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLayer").field("handshake_timeout", &self.handshake_timeout).finish_non_exhaustive()
    }
}
