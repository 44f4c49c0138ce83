//! The layer.

use std::{fmt, sync::Arc, time::Duration};

use tokio_rustls::rustls::ServerConfig;

use super::{HandshakeLimits, active_config::ActiveConfig, handshake_limits::Handshakes};

/// How long a handshake may take, unless told otherwise.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves TLS: turns a service for [`TlsStream<C>`](super::TlsStream) into one for `C`.
///
/// See the [module](super) for what is checked and what is not. Cloning is cheap; every clone
/// shares the configuration, its reloads and, with it, the sessions that can be resumed.
#[derive(Clone)]
pub struct TlsLayer {
    active: Arc<ActiveConfig>,
    handshakes: Arc<Handshakes>,
    handshake_timeout: Duration,
    ends_revoked: bool,
}

impl TlsLayer {
    /// Uses a configuration of your own, exactly as it is; 10 seconds for a handshake. It has no
    /// reloader.
    ///
    /// Two things are then yours to see to. **Resumption:** rustls does not run the client verifier
    /// again when a session is resumed, so a configuration that asks for client certificates should
    /// keep no sessions
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

    /// How long a handshake may take in all, from the call of the service to its last byte.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    pub(super) const fn end_revoked(mut self, end: bool) -> Self {
        self.ends_revoked = end;
        self
    }

    /// The configuration that is served now.
    ///
    /// Where it asks for client certificates, handshakes that are made with it by anybody but a
    /// `TlsLayer` give no session tickets, and resume no session: returning clients are judged by
    /// the layer.
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
