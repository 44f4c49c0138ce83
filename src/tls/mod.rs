//! A [`TlsLayer`] in a line of processes: reloaded when its files change or `HUP` says so, its session tickets handed on, its
//! expiries told.
//!
//! TLS itself is [`layers::tls`](crate::layers::tls)'s; what was read from which file, and checked how, is known there.

mod metrics;
mod watch;

use std::{io, sync::Arc, time::Duration};

use portcullis_layers::tls::{Reloaded, TlsConfigError, TlsLayer};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use self::{
    metrics::TlsMetrics,
    watch::{Stamp, Watcher, stamps},
};
use crate::{Generation, chain::Chain};

/// Files of one certificate are often replaced one after the other: they are read when nothing has changed for so long.
const QUIET: Duration = Duration::from_millis(200);

/// Where files change all the time, they are read nevertheless.
const AT_THE_LATEST: Duration = Duration::from_secs(5);

/// Why a TLS layer cannot be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// `HUP` cannot be handled.
    #[error("cannot handle HUP")]
    Signal(#[source] io::Error),
    /// The ticket keys that the predecessor handed on cannot be read.
    #[error("cannot take over the session tickets of {name:?}")]
    Tickets {
        /// The name of the layer.
        name: String,
        /// Why.
        #[source]
        source: crate::StateError,
    },
}

impl Generation {
    /// Lets this generation look after a TLS layer, known by `name` in metrics, logs and to the next generation.
    ///
    /// - Its files are read again when one of them changes (also by a rename, or where a symbolic link on the way is switched, as
    ///   Kubernetes does) and, where the generation obeys [signals](crate::GenerationBuilder::signals), on `HUP`. They are checked as a whole: a
    ///   broken, half-written or mismatched file leaves all as it was, and the log and `reloads_total` say so.
    /// - The keys of its session tickets are handed to the successor in memory, so that a client that returns after a restart
    ///   resumes its session; where the successor trusts other CAs, revocation lists or identities, it does not.
    /// - `tls_certificate_not_after_timestamp_seconds` and `tls_crl_next_update_timestamp_seconds` say when what was read from which file ends.
    ///
    /// Call it before the layer's listener is served, once for each layer that is built. Blocks, briefly. Where files cannot be watched (the system's limits
    /// of inotify(7)), `HUP` alone reloads, and the log says so.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use portcullis::{Generation, layers::tls::TlsLayer};
    ///
    /// let generation = Generation::builder().start().await?;
    /// let tls = TlsLayer::from_pem_files("cert.pem", "key.pem")?;
    /// generation.attach_tls("public", &tls)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If `HUP` cannot be handled, or what the predecessor handed on cannot be read. The layer serves all the same.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn attach_tls(&self, name: &str, tls: &TlsLayer) -> Result<(), AttachError> {
        self.hand_on_tickets(name, tls)?;
        let hangups = self.shared().obeys_signals().then(|| signal(SignalKind::hangup())).transpose();
        let hangups = hangups.map_err(AttachError::Signal)?;
        let (watcher, changes) = Watcher::new(&tls.files());
        let metrics = TlsMetrics::new(self.shared().metrics_prefix());
        metrics.tell(&tls.expiries());
        let read = stamps(&tls.files());
        let attached = Attached { name: name.into(), tls: tls.clone(), watcher, read, metrics };
        tokio::spawn(attached.reload(changes, hangups));
        Ok(())
    }

    fn hand_on_tickets(&self, name: &str, tls: &TlsLayer) -> Result<(), AttachError> {
        let Some(keys) = tls.ticket_keys() else { return Ok(()) };
        let state = format!("portcullis.tickets.{name}");
        let inherited = self.take_state(&state);
        let inherited = inherited.map_err(|source| AttachError::Tickets { name: name.to_owned(), source })?;
        if let Some(Err(error)) = inherited.map(|bytes| keys.import(&bytes)) {
            // Of a newer version perhaps. Clients make a full handshake.
            tracing::warn!(name, error = %Chain(&error), "the predecessor's sessions cannot be resumed");
        }
        let keys = keys.clone();
        self.offer_state(state, move || std::future::ready(Ok::<_, io::Error>(keys.export())));
        Ok(())
    }
}

/// A layer that is looked after.
struct Attached {
    name: Arc<str>,
    tls: TlsLayer,
    watcher: Watcher,
    /// The files as they were when they were read last.
    read: Vec<Option<Stamp>>,
    metrics: TlsMetrics,
}

impl Attached {
    /// Reloads whenever there is a reason to.
    async fn reload(mut self, mut changes: mpsc::Receiver<()>, mut hangups: Option<Signal>) {
        loop {
            let reason = tokio::select! {
                Some(()) = changes.recv() => {
                    settled(&mut changes).await;
                    // Something else in their directories, perhaps: the log file, where each reload is told.
                    if stamps(&self.tls.files()) == self.read {
                        continue;
                    }
                    "files changed"
                }
                Some(()) = hangup(&mut hangups) => "HUP",
                else => return,
            };
            let tls = self.tls.clone();
            // Before they are read: what changes meanwhile is a change.
            self.read = stamps(&tls.files());
            // It reads files, and does not panic.
            let Ok(result) = tokio::task::spawn_blocking(move || tls.reload()).await else { continue };
            // A symbolic link may lead elsewhere now.
            self.watcher.watch(&self.tls.files());
            self.told(reason, &result);
        }
    }

    fn told(&self, reason: &str, result: &Result<Reloaded, TlsConfigError>) {
        let name = &*self.name;
        self.metrics.reloaded(result.is_ok());
        match result {
            Ok(Reloaded { trust_changed, .. }) => {
                self.metrics.tell(&self.tls.expiries());
                tracing::info!(name, reason, trust_changed, "TLS reloaded");
            }
            Err(error) => {
                tracing::error!(name, reason, error = %Chain(error), "TLS not reloaded; what was read before is served on");
            }
        }
    }
}

/// Waits until nothing changes any more.
async fn settled(changes: &mut mpsc::Receiver<()>) {
    let quiet = async { while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {} };
    _ = tokio::time::timeout(AT_THE_LATEST, quiet).await;
}

async fn hangup(hangups: &mut Option<Signal>) -> Option<()> {
    match hangups {
        Some(hangups) => hangups.recv().await,
        None => None,
    }
}
