//! T6 and T8: what revocation lists say, and what happens where they do not. On TLS 1.2 and 1.3.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use portcullis_layers::tls::{
    ClientAuth, ClientRoots, ExpiredCrl, HandshakeFailure, TlsConfigError, TlsLayer, UnknownRevocation,
    rustls::AlertDescription,
};
use rcgen::{SerialNumber, date_time_ymd};

use crate::{
    certificates::{Authority, Pair, pem},
    ends::{VERSIONS, client, server},
    files::Files,
    visits::{Clock, turned_away, visit},
};

fn with_lists<const N: usize>(authority: &Authority, lists: [String; N]) -> ClientRoots {
    lists.into_iter().fold(ClientRoots::from_pem(authority.pem.clone()), ClientRoots::crl_pem)
}

/// Why this client is refused, if it is; on both versions, whether a certificate is required or not.
async fn refusal(authority: &Authority, roots: &ClientRoots, pair: &Pair) -> Option<HandshakeFailure> {
    let mut verdicts = Vec::new();
    for auth in [ClientAuth::Optional(roots.clone()), ClientAuth::Required(roots.clone())] {
        let layer = server(authority).client_auth(auth).build().unwrap();
        for version in VERSIONS {
            verdicts.push(visit(&layer, &Arc::new(client(authority, version, Some(pair)))).await.err());
        }
    }
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
    verdicts[0]
}

#[tokio::test]
async fn a_revoked_client_is_refused_and_the_others_are_served() {
    let authority = Authority::new("a CA");
    let (alice, bob) = (authority.client(), authority.client());
    let roots = with_lists(&authority, [authority.crl([&bob.serial])]);
    assert_eq!(refusal(&authority, &roots, &bob).await, Some(HandshakeFailure::CertRevoked));
    assert_eq!(refusal(&authority, &roots, &alice).await, None);
}

#[tokio::test]
async fn where_no_list_says_anything_a_client_is_refused_unless_that_is_allowed() {
    let (authority, other) = (Authority::new("a CA"), Authority::new("another CA"));
    let alice = authority.client();
    let roots = with_lists(&authority, [other.crl([])]);
    assert_eq!(refusal(&authority, &roots, &alice).await, Some(HandshakeFailure::CrlUnknown));
    let roots = roots.unknown_revocation(UnknownRevocation::Allow);
    assert_eq!(refusal(&authority, &roots, &alice).await, None);
}

#[tokio::test]
async fn who_allows_what_is_unknown_still_refuses_what_is_revoked() {
    let (authority, other) = (Authority::new("a CA"), Authority::new("another CA"));
    let bob = authority.client();
    let roots = with_lists(&authority, [other.crl([]), authority.crl([&bob.serial])])
        .unknown_revocation(UnknownRevocation::Allow);
    assert_eq!(refusal(&authority, &roots, &bob).await, Some(HandshakeFailure::CertRevoked));
}

#[tokio::test]
async fn an_expired_list_refuses_everybody_unless_it_is_to_be_believed() {
    let authority = Authority::new("a CA");
    let (alice, bob) = (authority.client(), authority.client());
    let roots = with_lists(&authority, [authority.expired_crl([&bob.serial])]);
    for client in [&alice, &bob] {
        assert_eq!(refusal(&authority, &roots, client).await, Some(HandshakeFailure::CrlExpired));
    }
    // Unknown is another matter than expired.
    let unknown = roots.clone().unknown_revocation(UnknownRevocation::Allow);
    assert_eq!(refusal(&authority, &unknown, &alice).await, Some(HandshakeFailure::CrlExpired));
    let roots = roots.expired_crl(ExpiredCrl::Allow);
    assert_eq!(refusal(&authority, &roots, &alice).await, None);
    assert_eq!(refusal(&authority, &roots, &bob).await, Some(HandshakeFailure::CertRevoked));
}

#[tokio::test]
async fn a_list_that_expires_while_it_is_used_refuses_also_who_returns() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    for version in VERSIONS {
        let clock = Arc::new(Clock::default());
        let soon = SystemTime::now() + Duration::from_secs(2 * 60 * 60);
        let list = authority.crl_that([], |list| list.next_update = soon.into());
        let layer = server(&authority)
            .client_auth(ClientAuth::Required(with_lists(&authority, [list])))
            .time_provider(clock.clone())
            .build()
            .unwrap();
        let returning = Arc::new(client(&authority, version, Some(&alice)));
        visit(&layer, &returning).await.unwrap();
        assert!(visit(&layer, &returning).await.unwrap().resumed, "there is a session to resume");
        // The ticket is still good.
        clock.put_forward_hours(3);
        let expired = (HandshakeFailure::CrlExpired, AlertDescription::UnknownCA);
        for config in [returning, Arc::new(client(&authority, version, Some(&alice)))] {
            assert_eq!(turned_away(&layer, &config).await, expired);
        }
    }
}

/// A list that somebody else has written says nothing, and its CA's clients are not let in for it.
#[tokio::test]
async fn a_list_that_the_ca_has_not_signed_refuses_everybody() {
    let (authority, namesake) = (Authority::new("a CA"), Authority::new("a CA"));
    let alice = authority.client();
    let mut broken = authority.crl_der([], |_| ());
    *broken.last_mut().unwrap() ^= 1;
    for list in [namesake.crl([]), pem("X509 CRL", &broken)] {
        let roots = with_lists(&authority, [list]);
        for choice in [UnknownRevocation::Deny, UnknownRevocation::Allow] {
            let roots = roots.clone().unknown_revocation(choice).expired_crl(ExpiredCrl::Allow);
            assert_eq!(refusal(&authority, &roots, &alice).await, Some(HandshakeFailure::CrlUnknown));
        }
    }
}

#[tokio::test]
async fn every_certificate_below_the_root_is_looked_up() {
    let root = Authority::new("a root");
    let (good, revoked) = (root.intermediate("a CA"), root.intermediate("a CA that was broken into"));
    let (alice, mallory) = (good.client(), revoked.client());
    let roots = with_lists(&root, [root.crl([&revoked.serial]), good.crl([]), revoked.crl([])]);
    assert_eq!(refusal(&root, &roots, &alice).await, None);
    assert_eq!(refusal(&root, &roots, &mallory).await, Some(HandshakeFailure::CertRevoked));

    // The root says nothing of its intermediates.
    let roots = with_lists(&root, [good.crl([])]);
    assert_eq!(refusal(&root, &roots, &alice).await, Some(HandshakeFailure::CrlUnknown));
}

/// webpki asks the first it finds. Who appends the new list to the old file must not let the revoked client in.
#[tokio::test]
async fn of_two_lists_of_a_ca_the_younger_is_asked() {
    let authority = Authority::new("a CA");
    let (alice, bob) = (authority.client(), authority.client());
    let old = authority.crl([]);
    let expired = authority.expired_crl([]);
    let young = authority.crl_that([&bob.serial], |list| list.this_update = date_time_ymd(2022, 1, 1));
    for old in [old, expired] {
        for lists in [[old.clone(), young.clone()], [young.clone(), old.clone()]] {
            for roots in [with_lists(&authority, [lists.concat()]), with_lists(&authority, lists)] {
                assert_eq!(refusal(&authority, &roots, &bob).await, Some(HandshakeFailure::CertRevoked));
                assert_eq!(refusal(&authority, &roots, &alice).await, None);
            }
        }
    }
}

#[test]
fn a_list_that_cannot_be_used_is_named() {
    let (authority, files) = (Authority::new("a CA"), Files::new());
    let good = authority.crl([]);
    let long_number = authority.crl_that([], |list| list.crl_number = SerialNumber::from(vec![1; 21]));
    for (text, says) in [
        (String::new(), "there is no revocation list in"),
        ("revoked: bob\n".to_owned(), "there is no revocation list in"),
        (authority.pem.clone(), "there is no revocation list in"),
        (good[..good.len() / 2].to_owned(), "was the file cut off?"),
        (good.replace('A', "%"), "not base64"),
        (pem("X509 CRL", b"no list"), "revocation list number 1 in"),
        (pem("X509 CRL", &authority.der), "revocation list number 1 in"),
        // It is a list; webpki does not take it.
        (format!("{good}{long_number}"), "revocation list number 2 in"),
    ] {
        let path = files.write("clients.crl.pem", text);
        let error = build(&authority, ClientRoots::from_pem(authority.pem.clone()).crl_file(&path));
        let told = error.to_string();
        assert!(told.contains(says) && told.contains(path.to_str().unwrap()), "{told}");
    }
    let missing = files.path("missing.pem");
    let error = build(&authority, ClientRoots::from_pem(authority.pem.clone()).crl_file(&missing));
    assert!(matches!(&error, TlsConfigError::Read { path, .. } if *path == missing), "{error}");
    let unusable = build(&authority, with_lists(&authority, [long_number]));
    assert!(
        unusable.source().is_some() && unusable.to_string().contains("the PEM bytes given"),
        "{unusable}"
    );
}

fn build(authority: &Authority, roots: ClientRoots) -> TlsConfigError {
    server(authority).client_auth(ClientAuth::Required(roots)).build().map(|_: TlsLayer| ()).unwrap_err()
}
