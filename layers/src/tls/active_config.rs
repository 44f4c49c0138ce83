//! What a layer serves now, and its replacement while it serves.

use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::ServerConfig;

use super::{FileStamps, loaded_config::LoadedConfig};
use crate::outcome::CloseReason;

/// See the module.
pub(super) struct ActiveConfig {
    current: RwLock<Arc<LoadedConfig>>,
}

impl ActiveConfig {
    pub(super) fn new(loaded: LoadedConfig) -> Self {
        Self { current: RwLock::new(Arc::new(loaded)) }
    }

    /// A configuration of the user's.
    pub(super) fn fixed(config: Arc<ServerConfig>) -> Self {
        Self::new(LoadedConfig {
            config,
            sni: None,
            client_verifier: None,
            trust: [0; 32],
            alpn_required: false,
            expiries: Vec::new(),
            read: FileStamps::default(),
            superseded: Arc::default(),
        })
    }

    pub(super) fn current(&self) -> Arc<LoadedConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves `loaded` from now on. Returns whether clients are verified by something else than
    /// before. One call at a time.
    pub(super) fn replace(&self, mut loaded: LoadedConfig) -> bool {
        let before = self.current();
        let trust_changed = before.trust != loaded.trust;
        if !trust_changed {
            loaded.superseded = before.superseded.clone();
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        if trust_changed {
            before.superseded.fire(CloseReason::Revoked);
        }
        trust_changed
    }
}
