//! What `tls::fuzzing` cannot reach from there.

use std::path::Path;

use tokio_rustls::rustls::internal::msgs::{codec::Codec, persist::ServerSessionValue};

use super::{keys, session::client_chain};

/// What rustls would encode like this has a chain, or none, that can be read; nothing is a reason to panic.
pub(in super::super) fn session(data: &[u8]) {
    let chain = client_chain(data);
    let session = ServerSessionValue::read_bytes(data).ok().filter(|session| session.get_encoding() == data);
    // But for a list of no certificates, which no client has shown.
    if session.is_some() && !data.windows(4).any(|window| window == [1, 0, 0, 0]) {
        assert!(chain.is_some());
    }
}

/// An operator has written this.
pub(in super::super) fn file(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match keys::read_lines(text, Path::new("tickets.keys")) {
        Ok(keys) => assert!((1..=8).contains(&keys.len())),
        Err(error) => assert!(error.to_string().contains("tickets.keys")),
    }
}
