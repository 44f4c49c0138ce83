//! What the fuzz targets in `fuzz/` call. It is there only under `cargo fuzz`, and no part of the API.

#![allow(missing_docs)]

use std::sync::Arc;

use tokio_rustls::rustls::{
    pki_types::CertificateDer, server::ProducesTickets, time_provider::DefaultTimeProvider,
};

use super::{
    ClientIdentity, IdentityRule, TicketKeys,
    tickets::{self, Ticketer},
};

/// A client comes with this ticket, another process with these keys, and an operator with this file.
pub fn ticket(data: &[u8]) {
    let keys = TicketKeys::generate().expect("random numbers");
    let ticketer = Ticketer::new(keys.clone(), [0; 32], None, Arc::new(DefaultTimeProvider));
    assert_eq!(ticketer.decrypt(data), None, "nobody has sealed it");

    let before = keys.export();
    match keys.import(data) {
        Ok(()) => _ = ticketer.encrypt(data),
        Err(_) => assert_eq!(keys.export(), before),
    }
    tickets::fuzzing::session(data);
    tickets::fuzzing::file(data);
}

/// A CA has signed this; an operator writes that.
pub fn identity(data: &[u8]) {
    if let Some(identity) = ClientIdentity::of(&CertificateDer::from(data)) {
        let shown = identity.to_string();
        let harmful = |c: char| c.is_control() || ['\u{202e}', '\u{2028}'].contains(&c);
        assert!(!shown.is_empty() && !shown.chars().any(harmful), "{shown:?}");
    }
    let rule = str::from_utf8(data).ok().and_then(|text| text.parse::<IdentityRule>().ok());
    if let Some(rule) = rule {
        assert_eq!(rule.to_string().parse(), Ok(rule));
    }
}
