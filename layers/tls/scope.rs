//! What the parts of one handshake tell each other that rustls calls one by one: the verifier, and the ticketer.

use std::cell::RefCell;

use tokio_rustls::rustls::pki_types::CertificateDer;

use super::ClientIdentity;

tokio::task_local! {
    static HANDSHAKE: Handshake;
}

#[derive(Default)]
struct Handshake {
    /// Whose tickets were looked at.
    returning: RefCell<Option<Returning>>,
    /// Whose certificate was refused.
    refused: RefCell<Option<ClientIdentity>>,
}

struct Returning {
    chain: Vec<CertificateDer<'static>>,
    allowed: bool,
}

/// Lets rustls go on with a handshake, and returns what it did, and whose certificate it has refused. In there, and nowhere else,
/// sessions of clients with certificates are resumed.
pub(super) fn handshaking<T>(go_on: impl FnOnce() -> T) -> (T, Option<ClientIdentity>) {
    let within = || (go_on(), HANDSHAKE.with(|handshake| handshake.refused.take()));
    HANDSHAKE.sync_scope(Handshake::default(), within)
}

pub(super) fn is_handshaking() -> bool {
    HANDSHAKE.try_with(|_| ()).is_ok()
}

/// Notes whose certificate is refused; it may be anybody's, and say anything.
pub(super) fn refuse(certificate: &CertificateDer<'_>) {
    // Without the layer nobody asks.
    _ = HANDSHAKE.try_with(|handshake| *handshake.refused.borrow_mut() = ClientIdentity::of(certificate));
}

/// Whether the client with this chain may return: by `judge`, if it is the first that this handshake has tickets of. One that comes
/// with another chain after that may not.
///
/// A ClientHello has room for more than a hundred tickets, and whoever has seen some pass by can send them again; so they are not
/// each worth a judgement. rustls looks at all of them in one call.
pub(super) fn may_return(chain: &[CertificateDer<'_>], judge: impl FnOnce() -> bool) -> bool {
    let verdict = |handshake: &Handshake| {
        let mut returning = handshake.returning.borrow_mut();
        match &*returning {
            Some(Returning { chain: known, allowed }) => *allowed && known == chain,
            None => {
                let allowed = judge();
                let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
                *returning = Some(Returning { chain, allowed });
                allowed
            }
        }
    };
    HANDSHAKE.try_with(verdict).unwrap_or(false)
}
