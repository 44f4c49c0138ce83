//! What `tls::fuzzing` cannot reach from there.

use std::path::Path;

use tokio_rustls::rustls::internal::msgs::{codec::Codec, persist::ServerSessionValue};

use super::{keys, session::client_chain};

/// What rustls would encode like this has the chain that rustls reads in it; nothing is a reason to panic.
pub(in super::super) fn session(data: &[u8]) {
    let chain = client_chain(data);
    let session = ServerSessionValue::read_bytes(data).ok().filter(|session| session.get_encoding() == data);
    let Some(session) = session else { return };
    let read = format!("{session:?}");
    // A list of no certificates, which no client has shown.
    if read.contains("client_cert_chain: Some(CertificateChain([]))") {
        return;
    }
    let expected = match chain.expect("it is a session") {
        chain if chain.is_empty() => "client_cert_chain: None".to_owned(),
        chain => format!("client_cert_chain: Some(CertificateChain({chain:?}))"),
    };
    assert!(read.contains(&expected), "{read} has not {expected}");
}

/// An operator has written this.
pub(in super::super) fn file(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match keys::read_lines(text, Path::new("tickets.keys")) {
        Ok(keys) => assert!((1..=8).contains(&keys.len())),
        Err(error) => assert!(error.to_string().contains("tickets.keys")),
    }
}
