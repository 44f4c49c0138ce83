//! When a session is resumed, and when it must not be; T11's 0-RTT. What a change of trust means for it is in
//! `returning_clients`.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use portcullis_layers::{
    BoxError,
    tls::{
        ClientAuth, ClientRoots, HandshakeFailure, TlsLayer, TlsStream,
        rustls::{
            AlertDescription, ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ServerConfig,
            SignatureScheme,
            client::{
                ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption,
                Tls12ClientSessionValue, Tls13ClientSessionValue,
            },
            pki_types::ServerName,
            sign::CertifiedKey,
            version::TLS13,
        },
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;
use tower::{Layer, service_fn};

use crate::{
    certificates::{Authority, Pair},
    crypto::default_provider,
    ends::{VERSIONS, client, client_with, connect, serve, server, tcp},
    visits::{Clock, resumed, turned_away, visit},
    within::within,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test]
async fn without_client_certificates_a_returning_client_is_resumed() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    for version in VERSIONS {
        let config = Arc::new(client(&authority, version, None));
        assert!(!resumed(visit(&layer, &config).await));
        assert!(resumed(visit(&layer, &config).await));
    }
}

#[tokio::test]
async fn a_returning_client_with_a_good_certificate_is_resumed_and_known() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    let roots = || ClientRoots::from_pem(authority.pem.clone());
    for auth in [ClientAuth::Optional(roots()), ClientAuth::Required(roots())] {
        let layer = server(&authority).client_auth(auth).build().unwrap();
        for version in VERSIONS {
            let config = Arc::new(client(&authority, version, Some(&alice)));
            let first = visit(&layer, &config).await.unwrap();
            let second = visit(&layer, &config).await.unwrap();
            assert!(!first.resumed && second.resumed);
            assert!(first.identity.is_some());
            assert_eq!(first.identity, second.identity);
        }
    }
}

#[tokio::test]
async fn nobody_is_resumed_where_resumption_is_off() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).no_resumption().build().unwrap();
    for version in VERSIONS {
        let config = Arc::new(client(&authority, version, None));
        for _ in 0..3 {
            assert!(!resumed(visit(&layer, &config).await));
        }
    }
}

/// A client's certificate, which may be renewed.
#[derive(Debug)]
struct Renewable(Mutex<Arc<CertifiedKey>>);

impl Renewable {
    fn new(pair: &Pair) -> Self {
        Self(Mutex::new(Self::read(pair)))
    }

    fn renew(&self, pair: &Pair) {
        *self.0.lock().unwrap() = Self::read(pair);
    }

    fn read(pair: &Pair) -> Arc<CertifiedKey> {
        Arc::new(CertifiedKey::from_der(pair.chain(), pair.key.clone_key(), &default_provider()).unwrap())
    }
}

impl ResolvesClientCert for Renewable {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().unwrap().clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_since_is_not_resumed_and_one_that_was_renewed_comes_in() {
    let authority = Authority::new("a CA");
    let alice = authority.client_that(|params| params.not_after = (SystemTime::now() + 2 * HOUR).into());
    for version in VERSIONS {
        let clock = Arc::new(Clock::default());
        let layer = server(&authority)
            .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
            .time_provider(clock.clone())
            .build()
            .unwrap();
        let own = Arc::new(Renewable::new(&alice));
        let mut config = client(&authority, version, None);
        config.client_auth_cert_resolver = own.clone();
        let config = Arc::new(config);
        visit(&layer, &config).await.unwrap();
        assert!(resumed(visit(&layer, &config).await), "there is a session to resume");
        assert!(resumed(visit(&layer, &config).await), "and there is after it was resumed");
        // The ticket is still good.
        clock.put_forward_hours(3);
        let expired = (HandshakeFailure::CertExpired, AlertDescription::CertificateExpired);
        assert_eq!(turned_away(&layer, &config).await, expired);

        own.renew(&authority.client());
        // By the session of the old certificate, if there still is one at the client, or without.
        assert!(!resumed(visit(&layer, &config).await));
        assert!(resumed(visit(&layer, &config).await));
    }
}

#[tokio::test]
async fn a_returning_client_is_known_with_all_of_its_chain() {
    let root = Authority::new("a root");
    let alice = root.intermediate("a CA").intermediate("another CA").client();
    assert_eq!(alice.chain().len(), 3);
    let layer = server(&root)
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(root.pem.clone())))
        .build()
        .unwrap();
    for version in VERSIONS {
        let config = Arc::new(client(&root, version, Some(&alice)));
        assert!(!resumed(visit(&layer, &config).await));
        for _ in 0..3 {
            assert!(resumed(visit(&layer, &config).await));
        }
    }
}

/// Keeps sessions, but forgets which group the server has chosen.
#[derive(Debug)]
struct Hintless(ClientSessionMemoryCache);

impl ClientSessionStore for Hintless {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.0.set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.0.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(name)
    }
}

/// Counts the server's messages of the handshake that are in the clear: HelloRetryRequest and ServerHello (RFC 8446, 4.1.4).
async fn hellos(layer: &TlsLayer, config: &Arc<ClientConfig>) -> usize {
    let mut client = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
    let (mut io, accepted) = tcp().await;
    let served =
        serve(layer.layer(service_fn(|_: TlsStream<TcpStream>| async { Ok::<(), BoxError>(()) })), accepted);
    let mut heard = Vec::new();
    while client.is_handshaking() {
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).unwrap();
        }
        io.write_all(&said).await.unwrap();
        if client.is_handshaking() {
            let before = heard.len();
            within(io.read_buf(&mut heard)).await.unwrap();
            client.read_tls(&mut &heard[before..]).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    drop(io);
    // What comes of that does not matter.
    _ = within(served).await;
    records(&heard).filter(|content_type| *content_type == 22).count()
}

/// The content types of these records.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (&[content_type, _, _, high, low], rest) = bytes.split_first_chunk()?;
        bytes = rest.get(usize::from(u16::from_be_bytes([high, low]))..)?;
        Some(content_type)
    })
}

/// A ClientHello that is asked for once more (HelloRetryRequest; RFC 8446, 4.1.4) comes when the handshake has begun.
#[tokio::test]
async fn a_returning_client_that_has_to_say_hello_twice_is_judged_and_resumed() {
    let authority = Authority::new("a CA");
    let alice = authority.client_that(|params| params.not_after = (SystemTime::now() + 2 * HOUR).into());
    let clock = Arc::new(Clock::default());
    let layer = server(&authority)
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
        .key_exchange_groups(["secp384r1"])
        .time_provider(clock.clone())
        .build()
        .unwrap();
    // Not the one of its first key share.
    let mut provider = default_provider();
    provider.kx_groups.retain(|group| [NamedGroup::X25519, NamedGroup::secp384r1].contains(&group.name()));
    provider.kx_groups.sort_by_key(|group| group.name() == NamedGroup::secp384r1);
    let mut config = client_with(provider, &authority, &TLS13, Some(&alice));
    config.resumption = Resumption::store(Arc::new(Hintless(ClientSessionMemoryCache::new(8))));
    let config = Arc::new(config);
    assert!(!resumed(visit(&layer, &config).await));
    assert!(resumed(visit(&layer, &config).await));
    assert_eq!(hellos(&layer, &config).await, 2, "one of them asks again");
    assert!(resumed(visit(&layer, &config).await));
    clock.put_forward_hours(3);
    assert_eq!(turned_away(&layer, &config).await.0, HandshakeFailure::CertExpired);
}

/// Who uses the configuration without the layer has nobody that judges returning clients.
#[tokio::test]
async fn without_the_layer_no_session_with_a_client_certificate_is_resumed_nor_sealed() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    let layer = server(&authority)
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
        .build()
        .unwrap();
    for version in VERSIONS {
        let config = Arc::new(client(&authority, version, Some(&alice)));
        let of_the_layer = Arc::new(client(&authority, version, Some(&alice)));
        assert!(!resumed(visit(&layer, &of_the_layer).await));
        for config in [&config, &config, &of_the_layer] {
            let (io, accepted) = tcp().await;
            let acceptor = TlsAcceptor::from(layer.config());
            let (served, connected) =
                within(async { tokio::join!(acceptor.accept(accepted), connect(config, io)) }).await;
            let mut served = served.unwrap();
            assert_eq!(served.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
            // Reads what there is after the handshake: on TLS 1.3 that is where tickets would be.
            let mut connected = connected.unwrap();
            let mut rest = Vec::new();
            within(async { tokio::join!(served.shutdown(), connected.read_to_end(&mut rest)) })
                .await
                .1
                .unwrap();
        }
    }
}

/// What the layer guards against: by the clock that rustls has here, but not the one who looks at tickets, the certificate
/// has expired. If this fails one day, judging again can be left to rustls.
#[tokio::test]
async fn with_resumption_the_verifier_would_not_run_again() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    let judging = server(&authority)
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
        .build()
        .unwrap();
    for version in VERSIONS {
        let config = Arc::new(client(&authority, version, Some(&alice)));
        let clock = Arc::new(Clock::default());
        let mut own = ServerConfig::clone(&judging.config());
        own.time_provider = clock.clone();
        let layer = TlsLayer::from_config(Arc::new(own));
        visit(&layer, &config).await.unwrap();
        clock.put_forward(3000);
        assert!(resumed(visit(&layer, &config).await));
    }
}

#[tokio::test]
async fn early_data_is_not_accepted() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    assert_eq!(layer.config().max_early_data_size, 0);
    let mut config = client(&authority, &TLS13, None);
    config.enable_early_data = true;
    let config = Arc::new(config);
    visit(&layer, &config).await.unwrap();
    // The server's tickets do not offer it: a client that would send some has no leave to.
    let mut connection = ClientConnection::new(Arc::clone(&config), "localhost".try_into().unwrap()).unwrap();
    assert!(connection.early_data().is_none());
}
