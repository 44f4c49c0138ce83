//! What the parts of a handshake tell each other that rustls calls one by one: the verifier, and
//! the ticketer.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    sync::Arc,
};

use tokio_rustls::rustls::pki_types::CertificateDer;

tokio::task_local! {
    static CALL: Call;
}

/// A certificate that is longer is not kept to be told of: anybody can send one, and many.
const LONGEST_TOLD: usize = 8 * 1024;

/// One call into rustls, for one connection.
#[derive(Default)]
struct Call {
    /// Whose tickets were looked at.
    returning: RefCell<Option<Returning>>,
    /// The certificate that was refused.
    refused: Cell<Option<CertificateDer<'static>>>,
}

struct Returning {
    /// Who decided; another one may decide otherwise.
    verifier: Arc<dyn Any + Send + Sync>,
    chain: Vec<CertificateDer<'static>>,
    allowed: bool,
}

/// Lets rustls go on with a handshake, and returns what it did, and which certificate it has
/// refused. In there, and nowhere else, sessions of clients with certificates are sealed and
/// resumed.
pub(super) fn handshaking<T>(go_on: impl FnOnce() -> T) -> (T, Option<CertificateDer<'static>>) {
    let within = || (go_on(), CALL.with(|call| call.refused.take()));
    CALL.sync_scope(Call::default(), within)
}

pub(super) fn is_handshaking() -> bool {
    CALL.try_with(|_| ()).is_ok()
}

/// Notes that this certificate is refused; it may be anybody's, and say anything.
pub(super) fn refuse(certificate: &CertificateDer<'_>) {
    let told = (certificate.len() <= LONGEST_TOLD).then(|| certificate.clone().into_owned());
    // Without the layer nobody asks.
    _ = CALL.try_with(|call| call.refused.set(told));
}

/// Whether the client with this chain may return: what `decide` says of the first client that comes
/// back in this call, by what `verifier` stands for. One that comes with another chain after that
/// may not.
///
/// A ClientHello has room for more than a hundred tickets, and whoever has seen some pass by can
/// send them again; so the chain of each is not worth a verification. rustls looks at all of them
/// in one call.
pub(super) fn may_return(
    verifier: Arc<dyn Any + Send + Sync>,
    chain: &[CertificateDer<'_>],
    decide: impl FnOnce() -> bool,
) -> bool {
    let known = CALL.try_with(|call| {
        let returning = call.returning.borrow();
        returning
            .as_ref()
            .map(|known| known.allowed && known.chain == chain && Arc::ptr_eq(&known.verifier, &verifier))
    });
    match known {
        Err(_) => false,
        Ok(Some(verdict)) => verdict,
        Ok(None) => {
            let allowed = decide();
            let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
            _ = CALL.try_with(|call| call.returning.replace(Some(Returning { verifier, chain, allowed })));
            allowed
        }
    }
}
