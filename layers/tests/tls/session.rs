//! What is known about a session, and who is told.

use std::sync::{Arc, Mutex};

use portcullis_layers::{
    BoxError, Connection, ConnectionEvent, Drain, delegate_connection,
    tls::{
        ClientAuth, ClientRoots, HandshakeFailure, IdentityRules, TlsLayer, TlsStream, TlsVersion,
        rustls::ClientConnection,
    },
    track::Tracker,
};
use rcgen::SanType;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpStream,
};
use tower::{Layer, service_fn};

use crate::{
    certificates::{Authority, Pair},
    ends::{VERSIONS, alert_to, client, connect, connect_to, refused, serve, server, tcp},
    within::within,
};

/// A connection that writes down what it is told.
pub(crate) struct Noted {
    io: TcpStream,
    notes: Notes,
}

/// What a [`Noted`] was told.
pub(crate) type Notes = Arc<Mutex<Vec<String>>>;

impl Noted {
    pub(crate) fn new(io: TcpStream, notes: &Notes) -> Self {
        Self { io, notes: Arc::clone(notes) }
    }
}

delegate_connection!(impl[] AsyncRead, AsyncWrite for Noted => io);

impl Connection for Noted {
    delegate_connection!(io: peer, local, tls);

    fn drain(&self) -> Drain {
        let tracker = Tracker::new();
        tracker.start_drain();
        tracker.drain()
    }

    fn on_event(&self, event: &ConnectionEvent<'_>) {
        let note = match event {
            ConnectionEvent::HandshakeStarted => "started".to_owned(),
            ConnectionEvent::HandshakeCompleted { tls, .. } => format!("completed {}", tls.version),
            other => format!("{other:?}"),
        };
        self.notes.lock().unwrap().push(note);
    }
}

#[tokio::test]
async fn what_was_agreed_is_readable_from_the_connection() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).alpn(["h2", "http/1.1"]).build().unwrap();
    for version in VERSIONS {
        let notes = Notes::default();
        let (io, accepted) = tcp().await;
        let (peer, local) = (accepted.peer(), accepted.local());
        let stack = layer.layer(service_fn(move |mut stream: TlsStream<Noted>| {
            let local = local.clone();
            async move {
                let session = stream.tls().expect("no session");
                assert_eq!(session.server_name.as_deref(), Some("localhost"));
                assert_eq!(session.alpn.as_deref(), Some(&b"http/1.1"[..]));
                assert_eq!(stream.client_certificates(), None);
                assert!(!session.resumed);
                match session.version {
                    TlsVersion::V1_2 => {
                        assert_eq!(session.cipher_suite, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
                        assert_eq!(session.key_exchange_group, Some("X25519"));
                    }
                    TlsVersion::V1_3 => {
                        assert_eq!(session.cipher_suite, "TLS13_AES_256_GCM_SHA384");
                        assert!(matches!(session.key_exchange_group, Some("X25519" | "X25519MLKEM768")));
                    }
                    other => panic!("{other}"),
                }
                // What the stream below knows is still known.
                assert_eq!(stream.peer(), peer);
                assert_eq!(stream.local(), local);
                assert!(stream.drain().is_signaled());
                stream.shutdown().await?;
                Ok::<(), BoxError>(())
            }
        }));
        let served = serve(stack, Noted::new(accepted, &notes));
        let mut config = client(&authority, version, None);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut stream = connect(&Arc::new(config), io).await.unwrap();
        within(stream.read_to_end(&mut Vec::new())).await.unwrap();
        within(served).await.unwrap().unwrap();

        let completed = if version.version == VERSIONS[0].version { "TLSv1.2" } else { "TLSv1.3" };
        assert_eq!(*notes.lock().unwrap(), ["started".to_owned(), format!("completed {completed}")]);
    }
}

#[tokio::test]
async fn a_handshake_that_fails_is_only_started() {
    let layer = server(&Authority::new("a CA")).build().unwrap();
    let notes = Notes::default();
    let (client, accepted) = tcp().await;
    drop(client);
    refused(&layer, Noted::new(accepted, &notes)).await;
    assert_eq!(*notes.lock().unwrap(), ["started"]);
}

/// A client of this name, as far as its ClientHello.
fn hello(authority: &Authority, name: &'static str) -> Vec<u8> {
    let config = Arc::new(client(authority, VERSIONS[1], None));
    let mut client = ClientConnection::new(config, name.try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_fails_knows_which_name_was_asked_for() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    // Whatever came, and whatever came then.
    let refusal = async |sent: &[u8], ends: bool| {
        let (mut client, accepted) = duplex(16 * 1024);
        client.write_all(sent).await.unwrap();
        if ends {
            client.shutdown().await.unwrap();
        }
        let error = refused(&layer, accepted).await;
        (error.failure(), error.server_name().map(str::to_owned))
    };
    let whole = hello(&authority, "Localhost");
    let name = || Some("localhost".to_owned());
    assert_eq!(refusal(&whole, true).await, (HandshakeFailure::Eof, name()));
    assert_eq!(refusal(&whole, false).await, (HandshakeFailure::Timeout, name()));
    // Before it is known there is none, and an address is none.
    assert_eq!(refusal(&whole[..40], true).await, (HandshakeFailure::Eof, None));
    let nameless = hello(&authority, "127.0.0.1");
    assert_eq!(refusal(&nameless, true).await, (HandshakeFailure::Eof, None));
}

#[tokio::test]
async fn whose_certificate_is_refused_is_told_whoever_that_is() {
    let (authority, others) = (Authority::new("a CA"), Authority::new("another CA"));
    let layer = server(&authority)
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
        .allow_identities(IdentityRules::any(["cn=alice".parse().unwrap()]))
        .build()
        .unwrap();
    let refusal = async |version, pair: Option<&Pair>| {
        let (io, accepted) = tcp().await;
        let config = Arc::new(client(&authority, version, pair));
        let talk = async { alert_to(connect(&config, io).await).await };
        tokio::join!(refused(&layer, accepted), talk).0
    };
    for version in VERSIONS {
        for (pair, failure) in [
            (authority.client(), HandshakeFailure::IdentityDenied),
            (authority.expired_client(), HandshakeFailure::CertExpired),
            (others.client(), HandshakeFailure::CertUnknownCa),
        ] {
            let error = refusal(version, Some(&pair)).await;
            assert_eq!(error.failure(), failure);
            assert_eq!(error.client().unwrap().to_string(), "a client");
        }
        // Whoever sends so much does not fill the memory, nor the log.
        let large = others.client_that(|params| {
            params.subject_alt_names = vec![SanType::URI("a:b".repeat(3000).try_into().unwrap())];
        });
        let error = refusal(version, Some(&large)).await;
        assert_eq!(error.failure(), HandshakeFailure::CertUnknownCa);
        assert_eq!(error.client(), None);
        assert_eq!(refusal(version, None).await.client(), None);
    }
}

#[tokio::test]
async fn a_client_that_is_turned_away_is_known_by_the_name_that_it_asked_for() {
    let authority = Authority::new("a CA");
    let pair = authority.server();
    let layer =
        TlsLayer::builder().sni_certificate_pem("served.example", pair.pem, pair.key_pem).build().unwrap();
    let (nobodys, not_theirs) = (HandshakeFailure::Sni, HandshakeFailure::Protocol);
    for (name, failure) in [("other.example", nobodys), ("served.example", not_theirs)] {
        let (io, accepted) = tcp().await;
        // The certificate is for another name, which the client does not like either.
        let config = Arc::new(client(&authority, VERSIONS[0], None));
        let (error, connected) = tokio::join!(refused(&layer, accepted), connect_to(name, &config, io));
        connected.unwrap_err();
        assert_eq!(error.failure(), failure);
        assert_eq!(error.server_name(), Some(name));
    }
}
