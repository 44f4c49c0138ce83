//! How often the client of one handshake is judged by its tickets.

use std::cell::RefCell;

use tokio_rustls::rustls::pki_types::CertificateDer;

tokio::task_local! {
    static JUDGED: RefCell<Judged>;
}

#[derive(Default)]
enum Judged {
    #[default]
    Nobody,
    Client {
        chain: Vec<CertificateDer<'static>>,
        allowed: bool,
    },
}

/// Lets rustls go on with a handshake. In there, and nowhere else, sessions of clients with certificates are resumed.
///
/// A ClientHello has room for more than a hundred tickets, and whoever has seen some pass by can send them again; so they are not
/// each worth a judgement. rustls looks at all of them in one call.
pub(in super::super) fn handshaking<T>(go_on: impl FnOnce() -> T) -> T {
    JUDGED.sync_scope(RefCell::default(), go_on)
}

pub(super) fn is_handshaking() -> bool {
    JUDGED.try_with(|_| ()).is_ok()
}

/// Whether the client with this chain is allowed: by `judge`, if it is the first of this handshake. One that comes with another chain
/// after that is not.
pub(super) fn is_allowed(chain: &[CertificateDer<'_>], judge: impl FnOnce() -> bool) -> bool {
    let verdict = |judged: &RefCell<Judged>| {
        let mut judged = judged.borrow_mut();
        match &*judged {
            Judged::Client { chain: known, allowed } => *allowed && known == chain,
            Judged::Nobody => {
                let allowed = judge();
                let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
                *judged = Judged::Client { chain, allowed };
                allowed
            }
        }
    };
    JUDGED.try_with(verdict).unwrap_or(false)
}
