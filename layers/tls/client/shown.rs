//! What a client has shown so far in the handshake that is going on.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::pki_types::CertificateDer;

tokio::task_local! {
    static SHOWN: Shown;
}

/// A chain that was judged good, the client's own certificate first; empty as long as there is none.
///
/// A session must not be resumed before its client was judged. But rustls tells the verifier of a chain and the ticketer of a session, as
/// bytes that only rustls can read, and neither of the connection; what the one learns is left here for the other.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Shown(Arc<Mutex<Vec<CertificateDer<'static>>>>);

impl Shown {
    /// Goes on with the handshake that it belongs to.
    pub(in super::super) fn during<T>(&self, poll: impl FnOnce() -> T) -> T {
        SHOWN.sync_scope(self.clone(), poll)
    }

    /// Of the handshake that is going on; `None` outside of one.
    pub(in super::super) fn now<T>(look: impl FnOnce(&[CertificateDer<'static>]) -> T) -> Option<T> {
        SHOWN.try_with(|Self(chain)| look(&chain.lock().unwrap_or_else(PoisonError::into_inner))).ok()
    }

    /// Notes what was judged good. Outside of a handshake nobody asks.
    pub(super) fn note(own: &CertificateDer<'_>, issuers: &[CertificateDer<'_>]) {
        _ = SHOWN.try_with(|Self(chain)| {
            let shown = std::iter::once(own).chain(issuers).map(|one| one.clone().into_owned()).collect();
            *chain.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        });
    }
}
