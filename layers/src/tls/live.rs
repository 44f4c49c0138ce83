//! What a layer serves now, and its replacement while it serves.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use tokio_rustls::rustls::{Error, ServerConfig, pki_types::CertificateDer, server::ClientHello};
use tokio_util::sync::CancellationToken;

use super::{
    FileStamps, TicketKeys, TlsConfigError, error,
    recipe::{Material, Recipe},
};

/// See the module.
pub(super) struct Live {
    current: RwLock<Arc<Material>>,
    /// `None` for a configuration of the user's.
    source: Option<Source>,
}

struct Source {
    recipe: Recipe,
    keys: Option<TicketKeys>,
    /// One reload at a time: what was read last is what is served.
    reloading: Mutex<()>,
}

/// What a reload has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// Whether clients are now judged by other CAs or revocation lists. Sessions from before are then not resumed.
    pub trust_changed: bool,
}

impl Live {
    pub(super) fn prepare(recipe: Recipe, keys: Option<TicketKeys>) -> Result<Self, TlsConfigError> {
        let material = recipe.prepare(keys.as_ref())?;
        let source = Some(Source { recipe, keys, reloading: Mutex::new(()) });
        Ok(Self { current: RwLock::new(Arc::new(material)), source })
    }

    pub(super) fn fixed(config: Arc<ServerConfig>) -> Self {
        let material = Material {
            config,
            names: None,
            judge: None,
            trust: [0; 32],
            alpn_required: false,
            expiries: Vec::new(),
            read: FileStamps::default(),
            superseded: CancellationToken::new(),
        };
        Self { current: RwLock::new(Arc::new(material)), source: None }
    }

    pub(super) fn current(&self) -> Arc<Material> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reload(&self) -> Result<Reloaded, TlsConfigError> {
        let Some(source) = &self.source else { return Ok(Reloaded { trust_changed: false }) };
        let _one = source.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut material = source.recipe.prepare(source.keys.as_ref())?;
        let before = self.current();
        let trust_changed = before.trust != material.trust;
        if !trust_changed {
            material.superseded = before.superseded.clone();
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
        if trust_changed {
            before.superseded.cancel();
        }
        Ok(Reloaded { trust_changed })
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.source.as_ref().map_or_else(Vec::new, |source| source.recipe.files(source.keys.as_ref()))
    }

    pub(super) fn keys(&self) -> Option<&TicketKeys> {
        self.source.as_ref()?.keys.as_ref()
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
