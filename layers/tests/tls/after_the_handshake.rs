//! T11: a client that wants another handshake, or new keys all the time. For 0-RTT see `resumption`.
//!
//! No client of today does this: once the handshake is complete, its records are made by hand here, with the secrets of the session.

use std::{io, sync::Arc};

use portcullis_layers::{
    BoxError, CloseReason, Outcome,
    tls::{
        TlsStream,
        rustls::{
            CipherSuite, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
            crypto::cipher::{Iv, Nonce, make_tls12_aad, make_tls13_aad},
            version::TLS13,
        },
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tower::{Layer, service_fn};

use crate::{
    certificates::Authority,
    crypto,
    crypto::{
        aead::{Aad, CHACHA20_POLY1305, LessSafeKey, UnboundKey},
        default_provider,
    },
    ends::{VERSIONS, client_with, connect, serve, server, tcp},
    hello::{Extensions, GCM, TLS_1_2, client_hello},
    session::{Noted, Notes},
    within::within,
};

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const DATA: u8 = 23;

/// A service that sends back each byte.
async fn echo(mut stream: TlsStream<Noted>) -> Result<(), BoxError> {
    loop {
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await?;
    }
}

/// One direction of a session.
struct Half {
    version: ProtocolVersion,
    key: LessSafeKey,
    iv: Iv,
    /// The number of the next record.
    number: u64,
}

impl Half {
    fn new(version: ProtocolVersion, (number, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else {
            panic!("another cipher")
        };
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).unwrap());
        Self { version, key, iv, number }
    }

    /// The nonce of the next record.
    fn nonce(&mut self) -> crypto::aead::Nonce {
        let nonce = Nonce::new(&self.iv, self.number);
        self.number += 1;
        crypto::aead::Nonce::assume_unique_for_key(nonce.0)
    }

    fn aad(&self, content_type: u8, length: usize) -> Vec<u8> {
        match self.version {
            ProtocolVersion::TLSv1_2 => {
                make_tls12_aad(self.number, ContentType::from(content_type), self.version, length).to_vec()
            }
            // With the tag.
            _ => make_tls13_aad(length + 16).to_vec(),
        }
    }

    /// A record (RFC 5246, 6.2.3.3; RFC 8446, 5.2).
    fn seal(&mut self, content_type: u8, contents: &[u8]) -> Vec<u8> {
        let (outer, mut sealed) = match self.version {
            ProtocolVersion::TLSv1_2 => (content_type, contents.to_vec()),
            _ => (DATA, [contents, &[content_type]].concat()),
        };
        let aad = self.aad(content_type, sealed.len());
        let nonce = self.nonce();
        self.key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed).unwrap();
        let length = u16::try_from(sealed.len()).unwrap().to_be_bytes();
        [&[outer, 3, 3][..], &length, &sealed].concat()
    }

    fn open(&mut self, outer: u8, mut sealed: Vec<u8>) -> (u8, Vec<u8>) {
        let aad = self.aad(outer, sealed.len() - 16);
        let nonce = self.nonce();
        let mut contents = self.key.open_in_place(nonce, Aad::from(aad), &mut sealed).unwrap().to_vec();
        match self.version {
            ProtocolVersion::TLSv1_2 => (outer, contents),
            _ => (contents.pop().unwrap(), contents),
        }
    }
}

/// A client that is being served, and makes its records by hand.
struct ByHand {
    io: TcpStream,
    sends: Half,
    receives: Half,
    notes: Notes,
    served: JoinHandle<Result<(), BoxError>>,
}

impl ByHand {
    async fn new(version: &'static portcullis_layers::tls::rustls::SupportedProtocolVersion) -> Self {
        let authority = Authority::new("a CA");
        let layer = server(&authority).no_resumption().build().unwrap();
        let (io, accepted) = tcp().await;
        let notes = Notes::default();
        let served = serve(layer.layer(service_fn(echo)), Noted::new(accepted, &notes));
        let mut provider = default_provider();
        provider.cipher_suites.retain(|suite| {
            matches!(
                suite.suite(),
                CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
                    | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            )
        });
        let mut config = client_with(provider, &authority, version, None);
        config.enable_secret_extraction = true;
        let mut stream = connect(&Arc::new(config), io).await.unwrap();
        // Both sides have nothing more to send then.
        stream.write_u8(0).await.unwrap();
        assert_eq!(within(stream.read_u8()).await.unwrap(), 0);
        let (io, session) = stream.into_inner();
        let secrets = session.dangerous_extract_secrets().unwrap();
        let half = |secrets| Half::new(version.version, secrets);
        Self { io, sends: half(secrets.tx), receives: half(secrets.rx), notes, served }
    }

    async fn send(&mut self, content_type: u8, contents: &[u8]) {
        let record = self.sends.seal(content_type, contents);
        within(self.io.write_all(&record)).await.unwrap();
    }

    /// The next record.
    async fn hear(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        within(self.io.read_exact(&mut header)).await?;
        let mut sealed = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        within(self.io.read_exact(&mut sealed)).await?;
        Ok(self.receives.open(header[0], sealed))
    }

    /// What else comes, and why it ended. There was one handshake.
    async fn end(mut self) -> (Vec<(u8, Vec<u8>)>, Outcome) {
        let mut rest = Vec::new();
        while let Ok(record) = self.hear().await {
            rest.push(record);
        }
        let error = within(self.served).await.unwrap().unwrap_err();
        let notes = self.notes.lock().unwrap();
        let handshakes = notes.iter().filter(|note| note.starts_with("completed")).count();
        assert_eq!(handshakes, 1, "{notes:?}");
        (rest, Outcome::of(Err(&*error)))
    }
}

/// A ClientHello without the record around it.
fn hello() -> Vec<u8> {
    client_hello(TLS_1_2, GCM, &Extensions::GroupsAndSignatures)[5..].to_vec()
}

#[tokio::test]
async fn a_renegotiation_is_declined_and_a_second_one_ends_the_connection() {
    let mut client = ByHand::new(VERSIONS[0]).await;
    client.send(HANDSHAKE, &hello()).await;
    client.send(DATA, b"x").await;
    // A warning, no_renegotiation (RFC 5246, 7.2.2), which goes out with what the service writes next.
    assert_eq!(client.hear().await.unwrap(), (ALERT, vec![1, 100]));
    assert_eq!(
        client.hear().await.unwrap(),
        (DATA, b"x".to_vec()),
        "it goes on with the session that there is"
    );
    client.send(HANDSHAKE, &hello()).await;
    let (rest, ending) = client.end().await;
    assert!(rest.iter().all(|(content_type, _)| *content_type != HANDSHAKE), "{rest:?}");
    assert_eq!(ending, Outcome::Closed(CloseReason::Io));
}

#[tokio::test]
async fn a_second_client_hello_on_tls_1_3_ends_the_connection() {
    let mut client = ByHand::new(VERSIONS[1]).await;
    client.send(HANDSHAKE, &hello()).await;
    let (rest, ending) = client.end().await;
    // A fatal alert: unexpected_message (RFC 8446, 4.1.2).
    assert_eq!(rest, [(ALERT, vec![2, 10])]);
    assert_eq!(ending, Outcome::Closed(CloseReason::Io));
}

/// KeyUpdate (RFC 8446, 4.6.3), with nothing in between: 32 are one's right, which rustls takes from BoringSSL.
#[tokio::test]
async fn a_flood_of_key_updates_ends_the_connection() {
    let (mut io, served) = updating().await;
    let mut updates = 0;
    loop {
        let Ok(()) = update(&mut io).await else { break };
        updates += 1;
        assert!(updates < 100_000, "it goes on for ever");
    }
    let error = within(served).await.unwrap().unwrap_err();
    assert_eq!(Outcome::of(Err(&*error)), Outcome::Closed(CloseReason::Io));
    let text = format!("{error:?}");
    assert!(text.contains("TooManyKeyUpdateRequests"), "{text}");
}

#[tokio::test]
async fn new_keys_now_and_then_are_a_clients_right() {
    let (mut io, served) = updating().await;
    for _ in 0..200 {
        update(&mut io).await.unwrap();
        io.write_u8(7).await.unwrap();
        io.flush().await.unwrap();
        assert_eq!(within(io.read_u8()).await.unwrap(), 7);
    }
    io.shutdown().await.unwrap();
    within(served).await.unwrap().unwrap_err();
}

/// A client that asks for new keys whenever it likes.
async fn updating() -> (tokio_rustls::client::TlsStream<TcpStream>, JoinHandle<Result<(), BoxError>>) {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    let (io, accepted) = tcp().await;
    // An update is a record of its own; what follows need not wait for its acknowledgement.
    io.set_nodelay(true).unwrap();
    let served = serve(layer.layer(service_fn(echo)), Noted::new(accepted, &Notes::default()));
    let config = Arc::new(client_with(default_provider(), &authority, &TLS13, None));
    let mut io = connect(&config, io).await.unwrap();
    // So that the server, too, has done with the handshake.
    io.write_all(b"x").await.unwrap();
    within(io.read_u8()).await.unwrap();
    (io, served)
}

async fn update(io: &mut tokio_rustls::client::TlsStream<TcpStream>) -> io::Result<()> {
    io.get_mut().1.refresh_traffic_keys().map_err(io::Error::other)?;
    within(io.flush()).await
}
