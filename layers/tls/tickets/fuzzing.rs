//! What `tls::fuzzing` cannot reach from there.

use std::path::Path;

use super::{contents::Contents, keys};

/// What was sealed means the same when it is opened; what cannot have been sealed is no reason to panic.
pub(in super::super) fn contents(data: &[u8]) {
    let Some(Contents { issued, chain, session }) = Contents::decode(data) else { return };
    // Certificates of any place may be named in it; those that are sealed are named in their order.
    if let Some(sealed) = Contents::encode(issued, &chain, session) {
        let opened = Contents::decode(&sealed).expect("it was just sealed");
        assert_eq!((opened.issued, opened.chain, opened.session), (issued, chain, session));
    }
}

pub(in super::super) fn file(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match keys::read_lines(text, Path::new("tickets.keys")) {
        Ok(keys) => assert!((1..=8).contains(&keys.len())),
        Err(error) => assert!(error.to_string().contains("tickets.keys")),
    }
}
