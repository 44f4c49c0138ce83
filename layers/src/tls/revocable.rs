//! Connections whose client may lose its permission while they are open.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::Context,
};

use tokio_rustls::rustls::pki_types::CertificateDer;

use super::{
    ClientIdentity, HandshakeFailure, Revoked, active_config::ActiveConfig, loaded_config::LoadedConfig,
};
use crate::{
    close_signal::{CloseSignal, Closed},
    error::BoxError,
    outcome::CloseReason,
};

/// Whether the client of one connection is still allowed, as one task asks: the one that polls the
/// future, reads, or writes.
///
/// A reload that changes CAs or lists wakes every task that waits, of every connection. The first
/// task of a connection to run verifies the client again, for all of them.
pub(super) struct Revocable {
    client: Arc<Client>,
    /// Fires when something else verifies clients than what has accepted this one.
    superseded: Closed,
}

/// Shared by the tasks of one connection, whose future and stream may outlive each other.
struct Client {
    /// Set when it is revoked.
    revoked: OnceLock<Option<Revoked>>,
    active: Arc<ActiveConfig>,
    /// The client's own certificate first.
    chain: Vec<CertificateDer<'static>>,
    /// Of what has accepted the client last.
    superseded: Mutex<Arc<CloseSignal>>,
}

impl Revocable {
    /// For a client with this chain, which `verified_by` has accepted.
    pub(super) fn new(
        active: Arc<ActiveConfig>,
        verified_by: &LoadedConfig,
        chain: Vec<CertificateDer<'static>>,
    ) -> Self {
        let superseded = verified_by.superseded.wait();
        let revoked = OnceLock::new();
        let client =
            Client { revoked, active, chain, superseded: Mutex::new(verified_by.superseded.clone()) };
        Self { client: Arc::new(client), superseded }
    }

    /// For another task of the same connection.
    pub(super) fn for_another_task(&self) -> Self {
        Self { client: self.client.clone(), superseded: self.superseded.clone() }
    }

    /// How the connection ends, if the client is no longer allowed.
    pub(super) fn revoked(&mut self) -> Option<BoxError> {
        (self.superseded.fired().is_some() && self.verify_again()).then(|| self.reason())
    }

    /// As [`revoked`](Self::revoked); if the client is allowed, this task is woken when that is to
    /// be asked again.
    pub(super) fn poll_revoked(&mut self, cx: &mut Context<'_>) -> Option<BoxError> {
        // Each round begins to wait for the signal that the round before has learned of.
        while Pin::new(&mut self.superseded).poll(cx).is_ready() {
            if self.verify_again() {
                return Some(self.reason());
            }
        }
        None
    }

    fn reason(&self) -> BoxError {
        match self.client.revoked.get() {
            Some(Some(revoked)) => revoked.clone().into(),
            // A certificate that cannot be read any more names no client.
            _ => CloseReason::Revoked.into(),
        }
    }

    /// Returns whether the client is revoked.
    fn verify_again(&mut self) -> bool {
        match self.client.verify_again() {
            Some(superseded) => {
                self.superseded = superseded;
                false
            }
            None => true,
        }
    }
}

impl Client {
    /// Verifies the client by what is served now, unless another task has done so. Returns what to
    /// wait for, or `None` if the client is revoked.
    fn verify_again(&self) -> Option<Closed> {
        // The task that comes second waits here for the result of the first.
        let mut superseded = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        if self.revoked.get().is_some() {
            return None;
        }
        // The race: another reload may come during the verification. It replaces what is served
        // before it fires the signal, so that either the next round sees the signal, or this one
        // has seen what is new.
        while superseded.fired().is_some() {
            let current = self.active.current();
            if let Err(error) = current.verify_client(&self.chain) {
                let client = self.chain.first().and_then(ClientIdentity::of);
                let failure = HandshakeFailure::of_session(&error);
                // Set once: the lock is held.
                _ = self.revoked.set(client.map(|client| Revoked::new(client, failure)));
                return None;
            }
            *superseded = current.superseded.clone();
        }
        Some(superseded.wait())
    }
}
