//! The lives of session tickets, by what clients see of them. On TLS 1.2 and 1.3.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use portcullis_layers::tls::{
    ClientAuth, ClientRoots, TicketKeys, TlsLayer,
    rustls::{
        ServerConfig,
        server::ProducesTickets,
        sign::{CertifiedKey, SingleCertAndKey},
    },
};

use crate::{
    certificates::Authority,
    ends::{VERSIONS, client, server},
    files::Files,
    visits::{Clock, resumed, visit},
};

/// A key as a line of a file.
fn line(digit: &str) -> String {
    digit.repeat(64) + "\n"
}

#[tokio::test]
async fn a_session_is_resumed_for_six_hours_also_when_the_key_is_no_longer_the_first() {
    let authority = Authority::new("a CA");
    for version in VERSIONS {
        let clock = Arc::new(Clock::default());
        let layer = server(&authority).time_provider(clock.clone()).build().unwrap();
        let config = || Arc::new(client(&authority, version, None));
        let (early, late, never) = (config(), config(), config());
        assert!(!resumed(visit(&layer, &early).await));
        clock.put_forward_hours(5);
        assert!(!resumed(visit(&layer, &late).await));
        assert!(!resumed(visit(&layer, &never).await));
        // In between another key has begun to seal.
        clock.put_forward_hours(10);
        assert!(resumed(visit(&layer, &late).await));
        assert!(!resumed(visit(&layer, &early).await), "it was good for six hours");
        clock.put_forward_hours(12);
        assert!(!resumed(visit(&layer, &never).await));
        assert!(resumed(visit(&layer, &late).await), "who returns in time gets a new one");
    }
}

#[tokio::test]
async fn keys_of_a_file_are_shared_and_change_with_a_reload() {
    let authority = Authority::new("a CA");
    for version in VERSIONS {
        let files = Files::new();
        let path = files.write("tickets.keys", line("a"));
        let layer = || {
            let keys = TicketKeys::from_file(&path).unwrap();
            server(&authority).ticket_keys(keys).build_reloadable().unwrap()
        };
        let ((one, one_reloader), (other, other_reloader)) = (layer(), layer());
        assert_eq!(one_reloader.files(), std::slice::from_ref(&path));
        let config = Arc::new(client(&authority, version, None));
        assert!(!resumed(visit(&one, &config).await));
        assert!(resumed(visit(&other, &config).await));

        files.write("tickets.keys", line("b") + &line("a"));
        for reloader in [&one_reloader, &other_reloader] {
            assert!(!reloader.reload().unwrap().trust_changed);
        }
        assert!(resumed(visit(&other, &config).await), "the old key still opens");
        assert!(resumed(visit(&one, &config).await));
        files.write("tickets.keys", line("b"));
        one_reloader.reload().unwrap();
        assert!(resumed(visit(&one, &config).await), "the new key seals");
        files.write("tickets.keys", line("c"));
        one_reloader.reload().unwrap();
        assert!(!resumed(visit(&one, &config).await), "a key that is gone opens nothing");

        // A file that is broken changes nothing.
        files.write("tickets.keys", line("c") + "half a k");
        assert!(one_reloader.reload().is_err());
        assert!(resumed(visit(&one, &config).await));
    }
}

/// Notes how long the tickets are that the layer gives.
#[derive(Debug)]
struct Measured {
    tickets: Arc<dyn ProducesTickets>,
    longest: AtomicUsize,
    refused: AtomicUsize,
}

impl ProducesTickets for Measured {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let ticket = self.tickets.encrypt(plain);
        match &ticket {
            Some(ticket) => drop(self.longest.fetch_max(ticket.len(), Ordering::Relaxed)),
            None => drop(self.refused.fetch_add(1, Ordering::Relaxed)),
        }
        ticket
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.tickets.decrypt(cipher)
    }
}

fn measured(layer: &TlsLayer) -> (TlsLayer, Arc<Measured>) {
    let mut config = ServerConfig::clone(&layer.config());
    let measured = Measured {
        tickets: config.ticketer.clone(),
        longest: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
    };
    let measured = Arc::new(measured);
    config.ticketer = measured.clone();
    (TlsLayer::from_config(Arc::new(config)), measured)
}

#[tokio::test]
async fn a_ticket_is_a_little_longer_than_the_chain_of_the_client() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    let roots = ClientRoots::from_pem(authority.pem.clone());
    let layer = server(&authority).client_auth(ClientAuth::Optional(roots)).build().unwrap();
    for version in VERSIONS {
        for (certificate, chain) in [(None, 0), (Some(&alice), alice.der.len())] {
            let (layer, measured) = measured(&layer);
            visit(&layer, &Arc::new(client(&authority, version, certificate))).await.unwrap();
            let longest = measured.longest.load(Ordering::Relaxed);
            assert!((chain + 100..chain + 200).contains(&longest), "{longest} bytes for a chain of {chain}");
        }
    }
}

/// Not a ticket that is cut off, which would break the handshake.
#[tokio::test]
async fn a_client_with_a_very_long_chain_is_served_without_a_ticket() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    let roots = ClientRoots::from_pem(authority.pem.clone());
    let layer = server(&authority).client_auth(ClientAuth::Required(roots)).build().unwrap();
    for version in VERSIONS {
        let (layer, measured) = measured(&layer);
        let mut config = client(&authority, version, None);
        let key = config.crypto_provider().key_provider.load_private_key(alice.key.clone_key()).unwrap();
        let mut chain = vec![alice.der.clone()];
        while chain.iter().map(|der| der.len() + 8).sum::<usize>() < 20_000 {
            chain.push(authority.der.clone());
        }
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
        let config = Arc::new(config);
        for _ in 0..2 {
            assert!(!resumed(visit(&layer, &config).await));
        }
        assert!(measured.refused.load(Ordering::Relaxed) > 0, "was it given after all?");
    }
}
