//! Whose tickets are opened where client certificates are asked for, by a verifier of the test's own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        ProducesTickets,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{
    super::{TicketKeys, Ticketer, session::tests::session},
    Clock, TRUST, own_keys,
};
use crate::tls::{client::ClientVerifier, scope};

/// Lets everybody in, or nobody, and counts how often it was asked.
#[derive(Debug)]
struct Verdict {
    allows: bool,
    asked: AtomicUsize,
}

impl ClientCertVerifier for Verdict {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.allows { Ok(ClientCertVerified::assertion()) } else { Err(CertificateError::Expired.into()) }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("there is no handshake")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("there is no handshake")
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Vec::new()
    }
}

/// What rustls does in a handshake of the layer's.
fn handshaking<T>(go_on: impl FnOnce() -> T) -> T {
    scope::handshaking(go_on).0
}

/// A ticketer that asks for certificates, and the verifier that it asks.
fn judging(keys: &TicketKeys, allows: bool) -> (Ticketer, Arc<Verdict>) {
    let verdict = Arc::new(Verdict { allows, asked: AtomicUsize::new(0) });
    let verifier = Arc::new(ClientVerifier::new(verdict.clone(), None));
    (Ticketer::new(keys.clone(), TRUST, Some(verifier), Arc::new(Clock::new())), verdict)
}

#[test]
fn one_handshake_is_worth_one_judgement_however_many_tickets_come_with_it() {
    let keys = own_keys();
    let (ticketer, verdict) = judging(&keys, true);
    let (refusing, refusal) = judging(&keys, false);
    let sessions = [&[&b"alice"[..], b"an issuer"][..], &[b"bob"], &[b"alice"]].map(session);
    let tickets = handshaking(|| sessions.each_ref().map(|session| ticketer.encrypt(session).unwrap()));
    assert_eq!(verdict.asked.load(Ordering::Relaxed), 0, "who is sealed was judged before");

    for handshake in 1..=3 {
        handshaking(|| {
            for _ in 0..50 {
                // Only whom the first one is of.
                let [alices, bobs, half_alices] = tickets.each_ref().map(|ticket| ticketer.decrypt(ticket));
                assert_eq!(alices.as_ref(), Some(&sessions[0]));
                assert_eq!((bobs, half_alices), (None, None));
            }
        });
        assert_eq!(verdict.asked.load(Ordering::Relaxed), handshake);
    }
    handshaking(|| {
        for _ in 0..50 {
            assert!(tickets.iter().all(|ticket| refusing.decrypt(ticket).is_none()));
        }
    });
    assert_eq!(refusal.asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_handshake_within_another_one_is_judged_by_itself() {
    let (ticketer, verdict) = judging(&own_keys(), true);
    let sessions = [&[&b"alice"[..]][..], &[b"bob"]].map(session);
    handshaking(|| {
        let [alices, bobs] = sessions.each_ref().map(|session| ticketer.encrypt(session).unwrap());
        assert!(ticketer.decrypt(&alices).is_some());
        handshaking(|| {
            assert!(ticketer.decrypt(&bobs).is_some());
            assert!(ticketer.decrypt(&alices).is_none());
        });
        assert!(ticketer.decrypt(&alices).is_some());
        assert!(ticketer.decrypt(&bobs).is_none());
    });
    assert_eq!(verdict.asked.load(Ordering::Relaxed), 2);
}

#[test]
fn a_panic_in_a_handshake_leaves_nothing_of_it() {
    let (ticketer, _) = judging(&own_keys(), true);
    let session = session(&[b"alice"]);
    let ticket = handshaking(|| ticketer.encrypt(&session)).unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        handshaking(|| {
            assert!(ticketer.decrypt(&ticket).is_some());
            panic!("in the middle of it");
        })
    }));
    result.unwrap_err();
    assert!(ticketer.decrypt(&ticket).is_none() && ticketer.encrypt(&session).is_none());
}

#[test]
fn where_certificates_are_asked_for_nothing_is_sealed_or_opened_outside_a_handshake() {
    let (ticketer, verdict) = judging(&own_keys(), true);
    for chain in [&[][..], &[&b"alice"[..]]] {
        let session = session(chain);
        assert!(ticketer.encrypt(&session).is_none());
        let ticket = handshaking(|| ticketer.encrypt(&session)).unwrap();
        assert!(ticketer.decrypt(&ticket).is_none());
    }
    assert_eq!(verdict.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn where_certificates_are_asked_for_what_cannot_be_read_gets_no_ticket() {
    let keys = own_keys();
    let (ticketer, _) = judging(&keys, true);
    let unread = super::ticketer(&keys, &Clock::new());
    assert!(
        handshaking(|| ticketer.decrypt(&unread.encrypt(&session(&[])).unwrap())).is_none(),
        "nor one without"
    );
    handshaking(|| {
        assert!(ticketer.encrypt(b"a session").is_none());
        assert!(ticketer.decrypt(&unread.encrypt(b"a session").unwrap()).is_none());
    });
}
