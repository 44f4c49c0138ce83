//! What a layer serves now, and its replacement while it serves.

use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::{Error, ServerConfig, pki_types::CertificateDer, server::ClientHello};

use super::{FileStamps, error, settings::Material};
use crate::outcome::CloseReason;

/// See the module.
pub(super) struct Live {
    current: RwLock<Arc<Material>>,
}

impl Live {
    pub(super) fn new(material: Material) -> Self {
        Self { current: RwLock::new(Arc::new(material)) }
    }

    /// A configuration of the user's.
    pub(super) fn fixed(config: Arc<ServerConfig>) -> Self {
        Self::new(Material {
            config,
            names: None,
            judge: None,
            trust: [0; 32],
            alpn_required: false,
            expiries: Vec::new(),
            read: FileStamps::default(),
            superseded: Arc::default(),
        })
    }

    pub(super) fn current(&self) -> Arc<Material> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves `material` from now on. Returns whether clients are verified by something else than before. One call at a time.
    pub(super) fn replace(&self, mut material: Material) -> bool {
        let before = self.current();
        let trust_changed = before.trust != material.trust;
        if !trust_changed {
            material.superseded = before.superseded.clone();
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
        if trust_changed {
            before.superseded.fire(CloseReason::Revoked);
        }
        trust_changed
    }
}

impl Material {
    /// Whether a client can have what it asks for, as far as rustls does not see to that.
    pub(super) fn admit(&self, hello: &ClientHello<'_>) -> Result<(), Error> {
        if self.names.as_ref().is_some_and(|names| !names.serve(hello.server_name())) {
            return Err(error::unknown_name());
        }
        if self.alpn_required && hello.alpn().is_none() {
            return Err(Error::NoApplicationProtocol);
        }
        Ok(())
    }

    /// Whether a client with this chain is let in as of now.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let Some(judge) = &self.judge else { return Ok(()) };
        let now = self.config.time_provider.current_time().ok_or(Error::FailedToGetCurrentTime)?;
        judge.judge(chain, now)
    }
}
