//! Manages a TLS layer over the generations: reloads it when its files change or on `HUP`, hands
//! its session tickets on, reports its expiries.
//!
//! The layer itself is in [`layers::tls`](crate::layers::tls), and so is the [`TlsReloader`] that
//! reads and checks its files.

mod metrics;
mod watch;

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use portcullis_layers::tls::{Expiry, ExpiryKind, FileStamps, Reloaded, TlsConfigError, TlsReloader};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
    time::MissedTickBehavior,
};
use zeroize::Zeroizing;

use self::{metrics::TlsMetrics, watch::Watcher};
use portcullis_layers::ErrorChain;

use crate::generation::{Claim, Generation};

/// Files of one certificate are often replaced one after the other: they are read when nothing has
/// changed for so long.
const QUIET: Duration = Duration::from_millis(200);

/// Where files change all the time, they are read nevertheless.
const AT_THE_LATEST: Duration = Duration::from_secs(5);

/// Whatever was missed, or could not be read, is found at the next of these looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why a TLS layer cannot be managed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManageTlsError {
    /// The generation manages a layer of this name already.
    #[error("a TLS layer named {name:?} is managed already")]
    #[non_exhaustive]
    Duplicate {
        /// The name.
        name: String,
    },
    /// `HUP` cannot be handled.
    #[error("cannot handle HUP")]
    Signal(#[source] io::Error),
    /// The ticket keys that the predecessor handed on cannot be read.
    #[error("cannot take over the session tickets of {name:?}")]
    #[non_exhaustive]
    Tickets {
        /// The name of the layer.
        name: String,
        /// Why.
        #[source]
        source: crate::generation::StateError,
    },
}

impl Generation {
    /// Reloads a TLS layer when its files change, hands its session tickets on, and reports its
    /// expiries. `name` stands for it in logs and to the next generation.
    ///
    /// - The files are read again when one of them changes (also by a rename, or where a symbolic
    ///   link on the way is switched, as Kubernetes does), at the latest 10 s after the change; a
    ///   file that cannot be read or used is tried again then. Where the generation obeys
    ///   [signals](crate::GenerationBuilder::signals), they are also read on `HUP`. They are
    ///   checked as a whole: a broken, half-written or mismatched file changes nothing; the log and
    ///   `reloads_total` report it.
    /// - The keys of its session tickets are handed to the successor in memory, so that a client
    ///   that returns after a restart resumes its session; where the successor trusts other CAs,
    ///   revocation lists or identities, it does not.
    /// - `tls_certificate_not_after_timestamp_seconds` and `tls_crl_next_update_timestamp_seconds`
    ///   say when what was read from which file expires.
    /// - The log has one warning for each certificate or list that has expired.
    ///
    /// All of this lasts until the [`TlsGuard`] is dropped.
    ///
    /// Replace files by a rename: one that is read while it is being written may be whole without
    /// being complete, as a bundle of CAs or of revocation lists whose second half is missing.
    ///
    /// Call it before the layer's listener is served. Blocks, briefly. Where files cannot be
    /// watched (the system's limits of inotify(7)), a change is found within 10 s, and the log says
    /// so.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use portcullis::{Generation, layers::tls::TlsLayer};
    ///
    /// let generation = Generation::builder().start().await?;
    /// let (layer, reloader) = TlsLayer::builder().certificate_files("cert.pem", "key.pem").build_reloadable()?;
    /// let _tls = generation.manage_tls("public", reloader)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Duplicate`](ManageTlsError::Duplicate) while the guard of another layer of this name
    /// lives; others if `HUP` cannot be handled, or if the keys of the predecessor cannot be read.
    /// The layer serves in any case.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn manage_tls(&self, name: &str, reloader: TlsReloader) -> Result<TlsGuard, ManageTlsError> {
        let state = format!("portcullis.tickets.{name}");
        let claim = self.claim(&state).ok_or_else(|| ManageTlsError::Duplicate { name: name.to_owned() })?;
        self.hand_on_tickets(name, state, &reloader)?;
        let hangups = self.obeys_signals().then(|| signal(SignalKind::hangup())).transpose();
        let hangups = hangups.map_err(ManageTlsError::Signal)?;
        let (watcher, changes) = Watcher::new(&reloader.files());
        let metrics = TlsMetrics::new(self.metrics_prefix());
        metrics.tell(&reloader.expiries());
        let (name, tried) = (Arc::from(name), reloader.stamps_read());
        let managed = Managed {
            name: Arc::clone(&name),
            reloader,
            watcher,
            tried,
            metrics,
            failure: None,
            ended: Vec::new(),
        };
        let task = tokio::spawn(managed.reload(changes, hangups));
        Ok(TlsGuard { name, task, _claim: claim })
    }

    fn hand_on_tickets(
        &self,
        name: &str,
        state: String,
        reloader: &TlsReloader,
    ) -> Result<(), ManageTlsError> {
        let Some(keys) = reloader.ticket_keys() else { return Ok(()) };
        let inherited = self.take_state(&state);
        let inherited =
            inherited.map_err(|source| ManageTlsError::Tickets { name: name.to_owned(), source })?;
        if let Some(Err(error)) = inherited.map(Zeroizing::new).map(|bytes| keys.import(&bytes)) {
            // Of a newer version perhaps. Clients make a full handshake.
            tracing::warn!(name, error = %ErrorChain(&error), "the predecessor's sessions cannot be resumed");
        }
        let keys = keys.clone();
        self.offer_state(state, move || std::future::ready(Ok::<_, io::Error>(keys.export())));
        Ok(())
    }
}

/// Keeps a TLS layer managed by [`Generation::manage_tls`].
///
/// Dropping it stops watching and reloading; a reload that has begun completes. The layer serves
/// what was read last, and the successor still inherits the keys of its session tickets.
#[must_use = "dropping it stops reloading"]
pub struct TlsGuard {
    name: Arc<str>,
    task: JoinHandle<()>,
    _claim: Claim,
}

impl Drop for TlsGuard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for TlsGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsGuard").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A layer that is managed.
struct Managed {
    name: Arc<str>,
    reloader: TlsReloader,
    watcher: Watcher,
    /// The files as they were before they were tried last.
    tried: FileStamps,
    metrics: TlsMetrics,
    /// What the last reload said, if it failed.
    failure: Option<String>,
    /// What has expired, and was reported.
    ended: Vec<Expiry>,
}

/// What came of a look at the files.
type Look = (Watcher, FileStamps, Option<Result<Reloaded, TlsConfigError>>);

impl Managed {
    /// Reloads whenever there is a reason to.
    async fn reload(mut self, mut changes: mpsc::Receiver<()>, mut hangups: Option<Signal>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The first look is at once: something may have changed since the layer was built.
            let reason = tokio::select! {
                _ = looks.tick() => Reason::Look,
                Some(()) = changes.recv() => {
                    settled(&mut changes).await;
                    Reason::Change
                }
                Some(()) = hangup(&mut hangups) => Reason::Hangup,
            };
            let (reloader, tried, watcher) = (self.reloader.clone(), self.tried.clone(), self.watcher);
            // It looks at files and reads them, and does not panic.
            let looking = tokio::task::spawn_blocking(move || look(&reloader, &tried, watcher, reason));
            let Ok((watcher, tried, result)) = looking.await else {
                return tracing::error!(name = &*self.name, "TLS is no longer reloaded");
            };
            (self.watcher, self.tried) = (watcher, tried);
            if let Some(result) = result {
                self.told(reason, &result);
            }
            self.tell_what_has_ended();
        }
    }

    fn told(&mut self, reason: Reason, result: &Result<Reloaded, TlsConfigError>) {
        let (name, why) = (&*self.name, reason.as_str());
        match result {
            Ok(Reloaded { trust_changed, .. }) => {
                self.failure = None;
                self.metrics.reloaded(true);
                self.metrics.tell(&self.reloader.expiries());
                tracing::info!(name, reason = why, trust_changed, "TLS reloaded");
            }
            Err(error) => {
                let hint = error.hint();
                let error = ErrorChain(error).to_string();
                // A file that stays broken is tried again and again; it is one failure.
                if reason == Reason::Look && self.failure.as_ref() == Some(&error) {
                    return;
                }
                self.metrics.reloaded(false);
                tracing::error!(
                    name,
                    reason = why,
                    error,
                    hint = hint.as_deref(),
                    "TLS not reloaded; what was read before is served on"
                );
                self.failure = Some(error);
            }
        }
    }

    /// Each once; nobody but clients would find out otherwise.
    fn tell_what_has_ended(&mut self) {
        let now = SystemTime::now();
        let mut ended = self.reloader.expiries();
        ended.retain(|expiry| expiry.at <= now);
        for expiry in ended.iter().filter(|expiry| !self.ended.contains(expiry)) {
            let (name, file) = (&*self.name, expiry.file.display());
            match expiry.kind {
                ExpiryKind::Certificate => {
                    tracing::warn!(name, %file, "a certificate has expired: clients that look at it will refuse it");
                }
                ExpiryKind::Crl => tracing::warn!(
                    name,
                    %file,
                    "a revocation list is past its next update: the clients of its CA are refused, unless you chose otherwise"
                ),
                _ => tracing::warn!(name, %file, "something in this file is past its end"),
            }
        }
        self.ended = ended;
    }
}

/// Why the files are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Look,
    Change,
    Hangup,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Look | Self::Change => "files changed",
            Self::Hangup => "HUP",
        }
    }
}

/// Reloads, if there is a reason to, and forgets ticket keys whose life is over. Blocks.
fn look(reloader: &TlsReloader, tried: &FileStamps, mut watcher: Watcher, reason: Reason) -> Look {
    let now = reloader.stamps_now();
    if let Some(keys) = reloader.ticket_keys() {
        keys.retire();
    }
    let wanted = match reason {
        // Also what could not be read before.
        Reason::Look => now != reloader.stamps_read(),
        // Not for something else in their directories: the log file, where each failure is told.
        Reason::Change => now != *tried,
        Reason::Hangup => true,
    };
    let result = wanted.then(|| reloader.reload());
    if wanted {
        // A symbolic link may lead elsewhere now, and a directory be another one.
        watcher.watch(&reloader.files());
    }
    (watcher, now, result)
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

#[cfg(test)]
mod tests;
