//! Reloads the configuration of a layer from its files.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Expiry, FileStamps, TicketKeys, TlsConfigError, active_config::ActiveConfig, settings::TlsSettings,
};

/// Reads the files of a [`TlsLayer`](super::TlsLayer) again, and replaces the configuration that
/// the layer serves.
///
/// [`TlsBuilder::build_reloadable`](super::TlsBuilder::build_reloadable) returns it beside its
/// layer. It does not decide when to reload: the program calls [`reload`](Self::reload), on a
/// signal or when [`stamps_now`](Self::stamps_now) is not [`stamps_read`](Self::stamps_read).
/// Clones are handles of the same reloader.
///
/// ```
/// # use portcullis_layers::tls::TlsLayer;
/// # let directory = tempfile::tempdir()?;
/// # let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
/// # let renew = || {
/// #     let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// #     std::fs::write(&cert, pair.cert.pem())?;
/// #     std::fs::write(&key, pair.signing_key.serialize_pem())?;
/// #     Ok::<_, Box<dyn std::error::Error>>(())
/// # };
/// # renew()?;
/// let (layer, reloader) = TlsLayer::builder().certificate_files(&cert, &key).build_reloadable()?;
///
/// renew()?;
/// assert_ne!(reloader.stamps_now(), reloader.stamps_read());
/// assert!(!reloader.reload()?.trust_changed, "the CAs and revocation lists are the same");
///
/// std::fs::write(&cert, "not written yet")?;
/// reloader.reload().unwrap_err(); // the layer serves the renewed certificate
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsReloader {
    shared: Arc<Shared>,
}

struct Shared {
    active: Arc<ActiveConfig>,
    settings: TlsSettings,
    keys: Option<TicketKeys>,
    /// Held during a reload: the layer serves what was read last.
    reloading: Mutex<()>,
}

/// What a reload has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// Whether clients are now verified by other CAs, revocation lists or rules. Sessions from
    /// before are then not resumed.
    pub trust_changed: bool,
}

impl TlsReloader {
    pub(super) fn new(active: Arc<ActiveConfig>, settings: TlsSettings, keys: Option<TicketKeys>) -> Self {
        Self { shared: Arc::new(Shared { active, settings, keys, reloading: Mutex::new(()) }) }
    }

    /// Reads all files again, verifies them together, and uses them from the next handshake on.
    /// Open connections continue; see [`TlsBuilder::end_revoked`](super::TlsBuilder::end_revoked)
    /// for those whose client is no longer allowed.
    ///
    /// Blocks: it reads files.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] names the file that is invalid. The layer then keeps its whole
    /// configuration.
    pub fn reload(&self) -> Result<Reloaded, TlsConfigError> {
        let Shared { active, settings, keys, reloading } = &*self.shared;
        let _guard = reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let trust_changed = active.replace(settings.prepare(keys.as_ref())?);
        Ok(Reloaded { trust_changed })
    }

    /// The files that a reload reads, each once.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.shared.settings.files(self.shared.keys.as_ref())
    }

    /// The state of the files now. Blocks, briefly.
    #[must_use]
    pub fn stamps_now(&self) -> FileStamps {
        FileStamps::of(&self.files())
    }

    /// The state of the files when the configuration that is served was read.
    #[must_use]
    pub fn stamps_read(&self) -> FileStamps {
        self.shared.active.current().read.clone()
    }

    /// When the current certificates expire, and when the CRLs should be replaced. Covers only
    /// those that were read from files.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        self.shared.active.current().expiries.clone()
    }

    /// The keys that seal session tickets, or `None` where sessions are not resumed.
    #[must_use]
    pub fn ticket_keys(&self) -> Option<&TicketKeys> {
        self.shared.keys.as_ref()
    }
}

/// The names of the files; nothing of their contents.
impl fmt::Debug for TlsReloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsReloader").field("files", &self.files()).finish_non_exhaustive()
    }
}
