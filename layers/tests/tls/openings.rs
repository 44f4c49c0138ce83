//! T1, T2, T4 and T5: clients that open the conversation in the wrong way.

use std::{io, sync::Arc};

use portcullis_layers::{
    CloseReason, Outcome,
    tls::{
        HandshakeCause, HandshakeError, HandshakeFailure, TlsLayer, TlsVersion,
        rustls::{
            self, AlertDescription, ServerConfig,
            server::{ClientHello, ResolvesServerCert},
            sign::CertifiedKey,
            version::{TLS12, TLS13},
        },
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    certificates::Authority,
    crypto::default_provider,
    ends::{VERSIONS, alert_to, client, connect, refused, refused_somehow, server, tcp},
    hello::{CBC, Extensions, GCM, SSL_3_0, TLS_1_0, TLS_1_1, TLS_1_2, client_hello, record},
    within::within,
};

/// The record of a fatal alert in the clear (RFC 8446, 6), but for its version.
fn is_fatal_alert(answer: &[u8]) -> bool {
    matches!(answer, [21, 3, _, 0, 2, 2, _])
}

/// Sends these bytes and stays; returns why it was refused, and everything that came back.
async fn say(layer: &TlsLayer, bytes: &[u8]) -> (HandshakeError, Vec<u8>) {
    let (mut client, server) = tcp().await;
    let talk = async {
        client.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("the answer was lost");
        drop(client);
        answer
    };
    within(async { tokio::join!(refused(layer, server), talk) }).await
}

fn default_layer() -> TlsLayer {
    server(&Authority::new("a CA")).build().unwrap()
}

#[tokio::test]
async fn what_is_not_tls_gets_an_alert_and_its_name() {
    let layer = default_layer();
    let openings: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x04\xd2\x01\xbb",
        // SSL 2: a CLIENT-HELLO for version 0.2.
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80\x03\x00\x80\x04\x00\x80\x05",
        // A content type of TLS, and then another protocol.
        b"\x16\xff\xff\xff\xff\xff\xff\xff",
    ];
    for opening in openings {
        let (error, answer) = say(&layer, opening).await;
        assert_eq!(error.failure(), HandshakeFailure::NotTls, "{opening:?}");
        assert!(is_fatal_alert(&answer), "{opening:?} got {answer:?}");
        assert_eq!(Outcome::of(Err(&error)), Outcome::HandshakeFailed(HandshakeFailure::NotTls));
    }
}

/// The alert must not be lost by a reset for what rustls has not read.
#[tokio::test]
async fn a_large_plain_request_gets_its_alert() {
    let layer = default_layer();
    let request = [b"POST / HTTP/1.1\r\n\r\n".as_slice(), &[b'x'; 48 * 1024]].concat();
    for _ in 0..10 {
        let (error, answer) = say(&layer, &request).await;
        assert_eq!(error.failure(), HandshakeFailure::NotTls);
        assert!(is_fatal_alert(&answer), "{answer:?}");
    }
}

#[tokio::test]
async fn a_client_that_never_stops_talking_is_left() {
    let layer = default_layer();
    let (mut client, server) = tcp().await;
    let flood = async { while client.write_all(&[b'x'; 4096]).await.is_ok() {} };
    let (error, ()) = within(async { tokio::join!(refused(&layer, server), flood) }).await;
    assert_eq!(error.failure(), HandshakeFailure::NotTls);
}

#[tokio::test]
async fn a_health_probe_is_told_from_a_client_that_gives_up() {
    let layer = default_layer();
    for (bytes, failure) in [(&b""[..], HandshakeFailure::EofEmpty), (b"\x16\x03\x01", HandshakeFailure::Eof)]
    {
        let (mut client, server) = tcp().await;
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(refused(&layer, server).await.failure(), failure);
    }
}

#[tokio::test]
async fn a_probe_that_resets_is_told_from_a_client_that_breaks_off() {
    let reset_after = async |sent: &[u8]| {
        let (mut client, server) = tcp().await;
        client.write_all(sent).await.unwrap();
        client.set_zero_linger().unwrap();
        drop(client);
        refused(&default_layer(), server).await
    };
    assert_eq!(reset_after(b"").await.failure(), HandshakeFailure::EofEmpty);
    let error = reset_after(&[22, 3, 1]).await;
    assert_eq!(error.failure(), HandshakeFailure::Io);
    let HandshakeCause::Io(error) = error.cause() else { panic!("{error:?}") };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(error.raw_os_error().is_some());
}

#[tokio::test]
async fn broken_records_get_an_alert() {
    let layer = default_layer();
    let oversized = [22, 3, 1, 0xff, 0xff];
    let oversized_message = record(22, &[1, 0xff, 0xff, 0xff, 0, 0]);
    let empty = record(22, &[]);
    let early = record(23, b"data before the handshake");
    // A good record, then none: it is not another protocol that came first.
    let garbage_later = [&record(22, &[1, 0, 1, 0])[..], b"GET / HTTP/1.1"].concat();
    // Records without contents, without end, and a message with another kind of record in its middle.
    let many_empty = [&record(20, &[1])[..], &record(22, &[]).repeat(40)].concat();
    let interleaved = [record(22, &[1, 0, 1, 0]), record(21, &[1, 0])].concat();
    for bytes in
        [&oversized[..], &oversized_message, &empty, &early, &garbage_later, &many_empty, &interleaved]
    {
        let (error, answer) = say(&layer, bytes).await;
        assert_eq!(error.failure(), HandshakeFailure::Protocol, "{bytes:?}");
        assert!(is_fatal_alert(&answer), "{bytes:?} got {answer:?}");
    }
}

#[tokio::test]
async fn versions_before_tls_1_2_are_incompatible() {
    let old: [(u16, &[u16], Extensions); 9] = [
        (SSL_3_0, CBC, Extensions::Absent),
        (TLS_1_0, CBC, Extensions::Absent),
        (TLS_1_0, CBC, Extensions::Groups),
        (TLS_1_1, CBC, Extensions::Absent),
        (TLS_1_1, CBC, Extensions::Groups),
        (TLS_1_1, CBC, Extensions::GroupsAndSignatures),
        (TLS_1_1, GCM, Extensions::GroupsAndSignatures),
        (TLS_1_1, CBC, Extensions::Versions(&[TLS_1_1, TLS_1_0])),
        (TLS_1_2, GCM, Extensions::Versions(&[TLS_1_1])),
    ];
    let authority = Authority::new("a CA");
    for min_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let layer = server(&authority).min_version(min_version).build().unwrap();
        for (version, ciphers, extensions) in &old {
            let (error, answer) = say(&layer, &client_hello(*version, ciphers, extensions)).await;
            assert_eq!(error.failure(), HandshakeFailure::Incompatible, "{version:#x}: {error:?}");
            assert!(is_fatal_alert(&answer), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn ciphers_with_cbc_are_incompatible() {
    let (error, answer) =
        say(&default_layer(), &client_hello(TLS_1_2, CBC, &Extensions::GroupsAndSignatures)).await;
    assert_eq!(error.failure(), HandshakeFailure::Incompatible, "{error:?}");
    assert!(is_fatal_alert(&answer), "{answer:?}");
}

#[tokio::test]
async fn the_minimum_version_is_kept() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).min_version(TlsVersion::V1_3).build().unwrap();
    let (io, accepted) = tcp().await;
    let config = Arc::new(client(&authority, &TLS12, None));
    let (error, alert) =
        tokio::join!(refused(&layer, accepted), async { alert_to(connect(&config, io).await).await });
    assert_eq!(error.failure(), HandshakeFailure::Incompatible);
    assert_eq!(alert, AlertDescription::ProtocolVersion);
}

#[tokio::test]
async fn another_application_protocol_is_refused() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).alpn(["h2", "http/1.1"]).build().unwrap();
    for version in VERSIONS {
        let mut config = client(&authority, version, None);
        config.alpn_protocols = vec![b"imap".to_vec()];
        let (io, accepted) = tcp().await;
        let config = Arc::new(config);
        let (error, alert) =
            tokio::join!(refused(&layer, accepted), async { alert_to(connect(&config, io).await).await });
        assert_eq!(error.failure(), HandshakeFailure::Alpn);
        assert_eq!(alert, AlertDescription::NoApplicationProtocol);
    }
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_is_no_certificate_failure_of_its_own() {
    let layer = default_layer();
    for version in VERSIONS {
        let (io, accepted) = tcp().await;
        let config = Arc::new(client(&Authority::new("another CA"), version, None));
        let (error, connected) = tokio::join!(refused(&layer, accepted), connect(&config, io));
        connected.expect_err("the client trusts anybody");
        assert_eq!(error.failure(), HandshakeFailure::Protocol);
        let HandshakeCause::Tls { source, .. } = error.cause() else { panic!("{error:?}") };
        assert_eq!(*source, rustls::Error::AlertReceived(AlertDescription::UnknownCA));
    }
}

#[tokio::test]
async fn no_certificate_for_the_name_is_sni() {
    #[derive(Debug)]
    struct Nothing;
    impl ResolvesServerCert for Nothing {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            None
        }
    }
    let provider = Arc::new(default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Nothing));
    let layer = TlsLayer::from_config(Arc::new(config));
    let (io, accepted) = tcp().await;
    let config = Arc::new(client(&Authority::new("a CA"), &TLS13, None));
    let (error, alert) =
        tokio::join!(refused(&layer, accepted), async { alert_to(connect(&config, io).await).await });
    assert_eq!(error.failure(), HandshakeFailure::Sni);
    assert_eq!(alert, AlertDescription::AccessDenied);
}

/// A layer below that ends the connection, as one that tracks it does, has the last word.
#[tokio::test]
async fn an_ending_from_below_is_not_a_failed_handshake() {
    let (client, server) = tcp().await;
    let server = crate::streams::Failing::new(server, || io::Error::other(CloseReason::Killed));
    let error = refused_somehow(&default_layer(), server).await;
    assert_eq!(Outcome::of(Err(&*error)), Outcome::Closed(CloseReason::Killed));
    drop(client);
}
