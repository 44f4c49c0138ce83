//! T7: a client that is let in no more does not come back by a saved session. On TLS 1.2 and 1.3.

use std::{fmt, sync::Arc};

use portcullis_layers::tls::{
    ClientAuth, ClientRoots, HandshakeFailure, IdentityRules, TicketKeys, TlsBuilder, TlsLayer, TlsReloader,
    rustls::{ServerConfig, server::ProducesTickets},
};

use crate::{
    certificates::Authority,
    ends::{VERSIONS, client, server},
    files::Files,
    visits::{resumed, visit},
};

/// A server that asks for certificates, with its CAs and its revocation list in files.
struct Site {
    files: Files,
    layer: TlsLayer,
    reloader: TlsReloader,
}

impl Site {
    /// Trusts this CA, which has revoked nobody.
    fn new(authority: &Authority) -> Self {
        let files = Files::new();
        let roots = ClientRoots::from_pem_file(files.write("ca.pem", &authority.pem))
            .crl_file(files.write("crl.pem", authority.crl([])));
        let pair = authority.server();
        let (layer, reloader) = TlsLayer::builder()
            .certificate_files(files.write("cert.pem", pair.pem), files.write("key.pem", pair.key_pem))
            .client_auth(ClientAuth::Required(roots))
            .build_reloadable()
            .unwrap();
        Self { files, layer, reloader }
    }
}

#[tokio::test]
async fn a_client_that_was_revoked_since_is_refused_and_the_others_make_one_full_handshake() {
    for version in VERSIONS {
        let authority = Authority::new("a CA");
        let site = Site::new(&authority);
        let (alice, bob) = (authority.client(), authority.client());
        let alices = Arc::new(client(&authority, version, Some(&alice)));
        let bobs = Arc::new(client(&authority, version, Some(&bob)));
        for config in [&alices, &bobs] {
            assert!(!resumed(visit(&site.layer, config).await));
            assert!(resumed(visit(&site.layer, config).await), "there is a session to resume");
        }

        site.files.write("crl.pem", authority.crl([&bob.serial]));
        assert!(site.reloader.reload().unwrap().trust_changed);
        for _ in 0..3 {
            assert_eq!(visit(&site.layer, &bobs).await.unwrap_err(), HandshakeFailure::CertRevoked);
        }
        assert!(!resumed(visit(&site.layer, &alices).await));
        assert!(resumed(visit(&site.layer, &alices).await));
    }
}

#[tokio::test]
async fn a_client_whose_ca_was_removed_since_is_refused() {
    for version in VERSIONS {
        let (authority, other) = (Authority::new("a CA"), Authority::new("another CA"));
        let site = Site::new(&authority);
        site.files.write("ca.pem", format!("{}{}", authority.pem, other.pem));
        site.files.write("crl.pem", format!("{}{}", authority.crl([]), other.crl([])));
        assert!(site.reloader.reload().unwrap().trust_changed);
        let (alice, bob) = (authority.client(), other.client());
        let alices = Arc::new(client(&authority, version, Some(&alice)));
        let bobs = Arc::new(client(&authority, version, Some(&bob)));
        for config in [&alices, &bobs, &alices, &bobs] {
            visit(&site.layer, config).await.unwrap();
        }

        site.files.write("ca.pem", &authority.pem);
        assert!(site.reloader.reload().unwrap().trust_changed);
        assert_eq!(visit(&site.layer, &bobs).await.unwrap_err(), HandshakeFailure::CertUnknownCa);
        assert!(!resumed(visit(&site.layer, &alices).await));
        assert!(resumed(visit(&site.layer, &alices).await));
    }
}

#[tokio::test]
async fn a_reload_that_trusts_the_same_keeps_the_sessions() {
    for version in VERSIONS {
        let authority = Authority::new("a CA");
        let site = Site::new(&authority);
        let alice = authority.client();
        let config = Arc::new(client(&authority, version, Some(&alice)));
        let first = visit(&site.layer, &config).await.unwrap();

        let pair = authority.server();
        site.files.write("cert.pem", pair.pem);
        site.files.write("key.pem", pair.key_pem);
        assert!(!site.reloader.reload().unwrap().trust_changed);
        assert!(resumed(visit(&site.layer, &config).await));

        // It was read all the same.
        let stranger = Arc::new(client(&authority, version, Some(&alice)));
        assert_ne!(visit(&site.layer, &stranger).await.unwrap().server, first.server);
    }
}

/// Builds layers that differ in whom they trust, and share their ticket keys: generations of a server, or its instances.
fn sharing(authority: &Authority, keys: &TicketKeys) -> TlsBuilder {
    server(authority).ticket_keys(keys.clone())
}

#[tokio::test]
async fn those_that_share_keys_and_trust_resume_each_others_sessions() {
    let authority = Authority::new("a CA");
    let (alice, keys) = (authority.client(), TicketKeys::generate().unwrap());
    let auth = || ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone()));
    let one = sharing(&authority, &keys).client_auth(auth()).build().unwrap();
    // Keys that were handed on, as a successor gets them.
    let handed_on = TicketKeys::generate().unwrap();
    handed_on.import(&keys.export()).unwrap();
    for other in [&keys, &handed_on] {
        let other = sharing(&authority, other).client_auth(auth()).build().unwrap();
        for version in VERSIONS {
            let config = Arc::new(client(&authority, version, Some(&alice)));
            assert!(!resumed(visit(&one, &config).await));
            assert!(resumed(visit(&other, &config).await));
            assert!(resumed(visit(&one, &config).await));
        }
    }
    let stranger = server(&authority).client_auth(auth()).build().unwrap();
    for version in VERSIONS {
        let config = Arc::new(client(&authority, version, Some(&alice)));
        visit(&one, &config).await.unwrap();
        assert!(!resumed(visit(&stranger, &config).await), "it has keys of its own");
    }
}

/// Rules are part of the program's settings: a new generation has others, and gets the keys of the old one.
#[tokio::test]
async fn a_client_that_the_rules_of_another_do_not_allow_is_refused() {
    let authority = Authority::new("a CA");
    let (alice, bob) = (
        authority.client_that(|params| params.distinguished_name.push(rcgen::DnType::CommonName, "alice")),
        authority.client_that(|params| params.distinguished_name.push(rcgen::DnType::CommonName, "bob")),
    );
    let keys = TicketKeys::generate().unwrap();
    let with_rules = |rules: &[&str]| {
        sharing(&authority, &keys)
            .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
            .allow_identities(IdentityRules::any(rules.iter().map(|rule| rule.parse().unwrap())))
            .build()
            .unwrap()
    };
    let (before, after) = (with_rules(&["cn=alice", "cn=bob"]), with_rules(&["cn=alice"]));
    for version in VERSIONS {
        let alices = Arc::new(client(&authority, version, Some(&alice)));
        let bobs = Arc::new(client(&authority, version, Some(&bob)));
        for config in [&alices, &bobs] {
            visit(&before, config).await.unwrap();
            assert!(resumed(visit(&before, config).await));
        }
        assert_eq!(visit(&after, &bobs).await.unwrap_err(), HandshakeFailure::IdentityDenied);
        assert!(!resumed(visit(&after, &alices).await));
        assert!(resumed(visit(&after, &alices).await));
    }
}

#[tokio::test]
async fn those_that_share_keys_and_trust_others_do_not_resume_each_others_sessions() {
    let authority = Authority::new("a CA");
    let (alice, keys) = (authority.client(), TicketKeys::generate().unwrap());
    let roots = || ClientRoots::from_pem(authority.pem.clone());
    let layers: Vec<_> = [
        ClientAuth::Off,
        ClientAuth::Optional(roots()),
        ClientAuth::Required(roots()),
        ClientAuth::Required(roots().crl_pem(authority.crl([]))),
        ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone() + &Authority::new("more").pem)),
    ]
    .map(|auth| sharing(&authority, &keys).client_auth(auth).build().unwrap())
    .into();
    for version in VERSIONS {
        let config = Arc::new(client(&authority, version, Some(&alice)));
        for layer in &layers {
            assert!(!resumed(visit(layer, &config).await), "of the one before");
            assert!(resumed(visit(layer, &config).await), "of its own");
        }
    }
}

/// Seals sessions as the layer does, and then breaks the tickets.
struct Breaking {
    tickets: Arc<dyn ProducesTickets>,
    how: fn(&mut Vec<u8>),
}

impl fmt::Debug for Breaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Breaking")
    }
}

impl ProducesTickets for Breaking {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut ticket = self.tickets.encrypt(plain)?;
        (self.how)(&mut ticket);
        Some(ticket)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.tickets.decrypt(cipher)
    }
}

#[tokio::test]
async fn a_broken_ticket_means_a_full_handshake() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    let auth = ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone()));
    let layer = server(&authority).client_auth(auth).build().unwrap();
    let ways: [fn(&mut Vec<u8>); 6] = [
        |ticket| ticket.truncate(1),
        |ticket| ticket.truncate(16),
        |ticket| ticket.truncate(28),
        |ticket| ticket.truncate(ticket.len() - 1),
        |ticket| *ticket.last_mut().unwrap() ^= 1,
        |ticket| ticket.fill(b'x'),
    ];
    for how in ways {
        let mut config = ServerConfig::clone(&layer.config());
        config.ticketer = Arc::new(Breaking { tickets: config.ticketer.clone(), how });
        let breaking = TlsLayer::from_config(Arc::new(config));
        for version in VERSIONS {
            let config = Arc::new(client(&authority, version, Some(&alice)));
            for _ in 0..2 {
                assert!(!resumed(visit(&breaking, &config).await));
            }
            // With the layer itself, which did not make the ticket either.
            assert!(!resumed(visit(&layer, &config).await));
        }
    }
}

#[test]
fn a_ticket_opens_only_as_it_was_sealed() {
    let layer = server(&Authority::new("a CA")).build().unwrap();
    let tickets = layer.config().ticketer.clone();
    let session = b"a session".to_vec();
    let ticket = tickets.encrypt(&session).unwrap();
    assert_eq!(tickets.decrypt(&ticket), Some(session.clone()));
    assert_ne!(tickets.encrypt(&session).unwrap(), ticket, "each has a nonce of its own");
    for length in 0..ticket.len() {
        assert_eq!(tickets.decrypt(&ticket[..length]), None, "cut to {length}");
    }
    for bit in 0..ticket.len() * 8 {
        let mut broken = ticket.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(tickets.decrypt(&broken), None, "bit {bit}");
    }
    let longer = [&ticket[..], b"\0"].concat();
    assert_eq!(tickets.decrypt(&longer), None);
}
