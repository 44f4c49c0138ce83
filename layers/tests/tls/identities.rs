//! T6: whom the identity rules let in, and what the service is told of a client. On TLS 1.2 and 1.3.

use std::{net::IpAddr, sync::Arc};

use portcullis_layers::tls::{
    ClientAuth, ClientIdentity, ClientRoots, HandshakeFailure, IdentityRule, IdentityRules, TlsConfigError,
};
use rcgen::{
    CertificateParams, CustomExtension, DnType, DnValue, SanType,
    string::{BmpString, TeletexString},
};

use crate::{
    certificates::{Authority, Pair},
    crypto::digest::{SHA256, digest},
    ends::{VERSIONS, client, server},
    visits::visit,
};

const SPIFFE: &str = "spiffe://example.org/ns/prod/sa/billing";

/// A client with a name of each kind.
fn alice(authority: &Authority) -> Pair {
    authority.client_that(|params| {
        params.distinguished_name.push(DnType::CommonName, "Alice Liddell");
        params.distinguished_name.push(DnType::OrganizationalUnitName, "Billing");
        params.subject_alt_names = vec![
            SanType::Rfc822Name("alice@example.org".try_into().unwrap()),
            SanType::DnsName("Alice.Example.ORG".try_into().unwrap()),
            SanType::DnsName("liddell.example.org".try_into().unwrap()),
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
            SanType::URI(SPIFFE.try_into().unwrap()),
        ];
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spki(pair: &Pair) -> String {
    format!("spki={}", hex(digest(&SHA256, &pair.public_key).as_ref()))
}

fn any<'a>(rules: impl IntoIterator<Item = &'a str>) -> IdentityRules {
    IdentityRules::any(rules.into_iter().map(|rule| rule.parse().unwrap()))
}

fn all<'a>(rules: impl IntoIterator<Item = &'a str>) -> IdentityRules {
    IdentityRules::all(rules.into_iter().map(|rule| rule.parse().unwrap()))
}

/// Whether these rules let this client in; on both versions, whether a certificate is required or not.
async fn is_let_in(authority: &Authority, rules: &IdentityRules, pair: &Pair) -> bool {
    let roots = || ClientRoots::from_pem(authority.pem.clone());
    let mut verdicts = Vec::new();
    for auth in [ClientAuth::Optional(roots()), ClientAuth::Required(roots())] {
        let layer = server(authority).client_auth(auth).allow_identities(rules.clone()).build().unwrap();
        for version in VERSIONS {
            match visit(&layer, &Arc::new(client(authority, version, Some(pair)))).await {
                Ok(visit) => verdicts.push(visit.identity.is_some()),
                Err(HandshakeFailure::IdentityDenied) => verdicts.push(false),
                Err(other) => panic!("{rules}: {other}"),
            }
        }
    }
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{rules}: {verdicts:?}");
    verdicts[0]
}

#[tokio::test]
async fn a_rule_of_each_kind_lets_in_whom_it_names_and_nobody_else() {
    let authority = Authority::new("a CA");
    let (alice, stranger) = (alice(&authority), authority.client());
    let pin = spki(&alice);
    for rule in [
        "cn=Alice Liddell",
        "ou=Billing",
        "dns=alice.example.org",
        "DNS=ALICE.EXAMPLE.ORG",
        "dns=liddell.example.org",
        "ip=192.0.2.7",
        "ip=2001:DB8:0::7",
        &format!("uri={SPIFFE}"),
        &pin,
        &pin.to_ascii_uppercase(),
    ] {
        assert!(is_let_in(&authority, &any([rule]), &alice).await, "{rule}");
        assert!(!is_let_in(&authority, &any([rule]), &stranger).await, "{rule}");
    }
}

#[tokio::test]
async fn a_rule_that_is_nearly_right_lets_nobody_in() {
    let authority = Authority::new("a CA");
    let alice = alice(&authority);
    for rule in [
        "cn=alice liddell",
        "cn=Alice",
        "cn= Alice Liddell",
        "cn=Billing",
        "ou=billing",
        "ou=Alice Liddell",
        "dns=example.org",
        "dns=alice.example",
        "dns=alice.example.org.",
        "dns=*.example.org",
        "dns=192.0.2.7",
        "dns=alice@example.org",
        "ip=192.0.2.8",
        "ip=::ffff:192.0.2.7",
        "uri=spiffe://example.org/ns/prod/sa/billing/",
        "uri=spiffe://Example.org/ns/prod/sa/billing",
        "uri=spiffe://example.org/ns/prod/sa",
        "uri=alice.example.org",
        &spki(&authority.client()),
    ] {
        assert!(!is_let_in(&authority, &any([rule]), &alice).await, "{rule}");
    }
}

/// A CA may check one of the two and let the holder choose the other.
#[tokio::test]
async fn a_name_only_in_the_common_name_is_no_dns_name_nor_the_other_way_round() {
    let authority = Authority::new("a CA");
    let name = "billing.example.org";
    let in_cn = authority.client_that(|params| params.distinguished_name.push(DnType::CommonName, name));
    let in_san = authority.client_that(|params| {
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
    });
    let (cn, dns) = (format!("cn={name}"), format!("dns={name}"));
    assert!(is_let_in(&authority, &any([&*cn]), &in_cn).await);
    assert!(!is_let_in(&authority, &any([&*dns]), &in_cn).await);
    assert!(is_let_in(&authority, &any([&*dns]), &in_san).await);
    assert!(!is_let_in(&authority, &any([&*cn]), &in_san).await);
}

#[tokio::test]
async fn any_rule_is_enough_or_all_must_hold() {
    let authority = Authority::new("a CA");
    let alice = alice(&authority);
    let (right, wrong) = ("ou=Billing", "dns=mallory.example.org");
    assert!(is_let_in(&authority, &any([wrong, right]), &alice).await);
    assert!(!is_let_in(&authority, &any([wrong, wrong]), &alice).await);
    assert!(!is_let_in(&authority, &all([right, wrong]), &alice).await);
    assert!(is_let_in(&authority, &all([right, "ip=192.0.2.7", "cn=Alice Liddell"]), &alice).await);
}

#[tokio::test]
async fn without_a_rule_nobody_is_let_in() {
    let authority = Authority::new("a CA");
    let alice = alice(&authority);
    assert!(!is_let_in(&authority, &any([]), &alice).await);
    assert!(!is_let_in(&authority, &all([]), &alice).await);
}

/// A name that ends at a NUL for one program and goes on for another, and bytes that are no text.
#[tokio::test]
async fn a_name_with_a_nul_or_that_is_no_text_is_nobodys() {
    let authority = Authority::new("a CA");
    let rules = any(["cn=alice", "ou=alice", "dns=alice", "uri=alice"]);
    let names: [fn(&mut CertificateParams); 7] = [
        |params| params.distinguished_name.push(DnType::CommonName, "alice\0.evil"),
        |params| params.distinguished_name.push(DnType::OrganizationalUnitName, "alice\0"),
        |params| params.subject_alt_names = vec![SanType::DnsName("alice\0.evil".try_into().unwrap())],
        |params| params.subject_alt_names = vec![SanType::URI("alice\0".try_into().unwrap())],
        // The same letters in another encoding: it is not guessed at.
        |params| {
            let name = DnValue::BmpString(BmpString::try_from("alice").unwrap());
            params.distinguished_name.push(DnType::CommonName, name);
        },
        |params| {
            let name = DnValue::TeletexString(TeletexString::try_from("alice").unwrap());
            params.distinguished_name.push(DnType::CommonName, name);
        },
        // SEQUENCE { [2] "alice\xff", [6] "alice\xff" }
        |params| {
            let names = b"\x30\x10\x82\x06alice\xff\x86\x06alice\xff".to_vec();
            params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], names)];
        },
    ];
    for (index, name) in names.into_iter().enumerate() {
        let mallory = authority.client_that(name);
        assert!(!is_let_in(&authority, &rules, &mallory).await, "number {index}");
    }
}

#[tokio::test]
async fn a_wildcard_in_a_certificate_is_not_expanded() {
    let authority = Authority::new("a CA");
    let wild = authority.client_that(|params| {
        params.subject_alt_names = vec![SanType::DnsName("*.example.org".try_into().unwrap())];
    });
    assert!(!is_let_in(&authority, &any(["dns=alice.example.org"]), &wild).await);
}

#[tokio::test]
async fn where_a_certificate_is_optional_a_client_without_is_served_whatever_the_rules() {
    let authority = Authority::new("a CA");
    let layer = server(&authority)
        .client_auth(ClientAuth::Optional(ClientRoots::from_pem(authority.pem.clone())))
        .allow_identities(any(["cn=alice"]))
        .build()
        .unwrap();
    for version in VERSIONS {
        let config = Arc::new(client(&authority, version, None));
        // Also when it comes back.
        for returning in [false, true] {
            let visit = visit(&layer, &config).await.unwrap();
            assert_eq!((visit.resumed, visit.identity), (returning, None));
        }
    }
}

#[tokio::test]
async fn the_service_is_told_whom_the_certificate_names() {
    let authority = Authority::new("a CA");
    let alice = alice(&authority);
    let layer = server(&authority)
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
        .build()
        .unwrap();
    for version in VERSIONS {
        let visit = visit(&layer, &Arc::new(client(&authority, version, Some(&alice)))).await.unwrap();
        let identity: ClientIdentity = visit.identity.unwrap();
        assert_eq!(identity.common_names, ["Alice Liddell"]);
        assert_eq!(identity.organizational_units, ["Billing"]);
        assert_eq!(identity.dns_names, ["alice.example.org", "liddell.example.org"]);
        let addresses: [IpAddr; 2] = ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        assert_eq!(identity.ip_addresses, addresses);
        assert_eq!(identity.uris, [SPIFFE]);
        assert_eq!(identity.spki_sha256, digest(&SHA256, &alice.public_key).as_ref());
        assert_eq!(identity.serial, hex(alice.serial.as_ref()));
        assert_eq!(identity.to_string(), SPIFFE, "the name that says the most");
    }
}

#[test]
fn rules_without_a_ca_are_a_mistake() {
    let authority = Authority::new("a CA");
    let error = server(&authority).allow_identities(any(["cn=alice"])).build().unwrap_err();
    assert!(matches!(error, TlsConfigError::RulesWithoutRoots));
}

#[test]
fn a_rule_is_read_and_written_the_same_and_a_wrong_one_says_what_is_wrong() {
    let pin = format!("spki={}", "0a".repeat(32));
    for text in ["cn=a = b", "ou=x", "dns=a.example", "ip=2001:db8::7", "uri=spiffe://a/b?c=d", &pin] {
        assert_eq!(text.parse::<IdentityRule>().unwrap().to_string(), text);
    }
    for (text, says) in [
        ("alice", "what it is about"),
        ("cn=", "names nobody"),
        ("ip=localhost", "no IP address"),
        ("ip=10.0.0.0/8", "no IP address"),
        ("spki=abc", "no SHA-256"),
        ("email=a@b", "nothing is known"),
    ] {
        let error = text.parse::<IdentityRule>().unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(text) && error.contains("uri=URI"), "{error}");
    }
}
