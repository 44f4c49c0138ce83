//! Handshakes are counted, from below TLS with their duration and from above without.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
};

use portcullis_layers::{
    BoxError, Connection, RejectReason,
    metrics::Metered,
    tls::{
        ClientAuth, ClientRoots, HandshakeLimits, TlsBuilder, TlsLayer, TlsStream,
        rustls::{self, ClientConfig, RootCertStore, pki_types::ServerName, version},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsConnector;
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::{Recorded, certificates::Authority, echo::Echo, within};

/// A server's layer, and clients that trust it.
struct Both {
    layer: TlsLayer,
    roots: RootCertStore,
    certificate: String,
    key: String,
}

impl Both {
    fn new() -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(pair.cert.der().clone()).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let layer = builder(&certificate, &key).build().unwrap();
        Self { layer, roots, certificate, key }
    }

    /// What the layer was built with.
    fn builder(&self) -> TlsBuilder {
        builder(&self.certificate, &self.key)
    }

    fn connector(&self, version: &'static rustls::SupportedProtocolVersion, alpn: &[&str]) -> TlsConnector {
        let provider = self.layer.config().crypto_provider().clone();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

fn builder(certificate: &str, key: &str) -> TlsBuilder {
    TlsLayer::builder().certificate_pem(certificate, key).alpn(["h2", "echo"])
}

/// One connection that says a word and hears it again.
async fn visit<S>(service: S, connector: &TlsConnector)
where
    S: Service<DuplexStream, Response = (), Error = BoxError> + Send + 'static,
    S::Future: Send,
{
    let (server, client) = duplex(4096);
    let served = tokio::spawn(service.oneshot(server));
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = within(connector.connect(name, client)).await.unwrap();
    client.write_all(b"word").await.unwrap();
    within(client.read_exact(&mut [0; 4])).await.unwrap();
    client.shutdown().await.unwrap();
    within(client.read_to_end(&mut Vec::new())).await.unwrap();
    within(served).await.unwrap().unwrap();
}

#[tokio::test]
async fn below_tls_a_handshake_is_seen_from_its_start() {
    let (recorded, both) = (Recorded::new(), Both::new());
    let mut service = ServiceBuilder::new().layer(recorded.layer()).layer(both.layer.clone()).service(Echo);
    let connector = both.connector(&version::TLS13, &["h2"]);
    visit(service.clone(), &connector).await;
    visit(service.clone(), &connector).await;
    visit(service.clone(), &both.connector(&version::TLS12, &["echo"])).await;
    visit(service.clone(), &both.connector(&version::TLS13, &[])).await;

    for (series, count) in [
        ("tls_handshakes_total,version=TLSv1.3,resumed=false", 2.0),
        ("tls_handshakes_total,version=TLSv1.3,resumed=true", 1.0),
        ("tls_handshakes_total,version=TLSv1.2,resumed=false", 1.0),
        ("tls_handshake_duration_seconds,resumed=false", 3.0),
        ("tls_handshake_duration_seconds,resumed=true", 1.0),
        ("tls_alpn_total,protocol=h2", 2.0),
        ("tls_alpn_total,protocol=other", 1.0),
        ("tls_alpn_total,protocol=none", 1.0),
        ("tls_ciphers_total,cipher=TLS13_AES_256_GCM_SHA384", 3.0),
        ("tls_ciphers_total,cipher=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 1.0),
    ] {
        assert_eq!(recorded.get(series), count, "{series}");
    }
    for series in ["tls_groups_total", "tls_ciphers_total", "tls_alpn_total"] {
        assert_eq!(recorded.sum(series), 4.0, "{series}");
    }
    assert_eq!(recorded.get("tls_groups_total,group=other"), 0.0);
    assert!(recorded.get("connection_bytes_total,direction=read") > 4.0 * 100.0, "records and all");
    // The clients ended their sessions, which the socket alone does not tell.
    assert_eq!(recorded.get("connections_closed_total,reason=client_eof"), 4.0);
    assert_eq!(recorded.sum("connections_closed_total"), 4.0);
    recorded.assert_at_rest();

    // One that is under way.
    let (server, _client) = duplex(4096);
    let mut future = Box::pin(service.call(server));
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(recorded.get("connections_handshaking"), 1.0);
    drop(future);
    assert_eq!(recorded.get("connections_closed_total,reason=killed"), 1.0);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn below_tls_a_failed_handshake_is_counted_and_not_as_closed() {
    let (recorded, both) = (Recorded::new(), Both::new());
    let service = ServiceBuilder::new().layer(recorded.layer()).layer(both.layer).service(Echo);

    let (server, client) = duplex(4096);
    drop(client);
    assert!(within(service.clone().oneshot(server)).await.is_err());
    assert_eq!(recorded.get("tls_handshake_failures_total,reason=eof_empty"), 1.0);

    let (server, mut client) = duplex(4096);
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    assert!(within(service.oneshot(server)).await.is_err());
    assert_eq!(recorded.get("tls_handshake_failures_total,reason=not_tls"), 1.0);
    assert_eq!(recorded.sum("connections_closed_total"), 0.0);
    assert_eq!(recorded.sum("tls_handshakes_total"), 0.0);
    recorded.assert_at_rest();
}

/// Too many handshakes are in progress, of one peer or in all: such a client was never in one.
#[tokio::test]
async fn below_tls_a_client_beyond_the_cap_is_rejected_and_has_not_failed() {
    let (recorded, both) = (Recorded::new(), Both::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for (limits, reason) in
        [(HandshakeLimits::new(2, 1), "limit_peer"), (HandshakeLimits::new(1, 2), "limit_total")]
    {
        let tls = both.builder().handshake_limits(limits).build().unwrap();
        let mut service = ServiceBuilder::new().layer(recorded.layer()).layer(tls).service(Echo);
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut under_way = Box::pin(service.call(listener.accept().await.unwrap().0));
        assert!(under_way.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(recorded.get("connections_handshaking"), 1.0);

        let _second = TcpStream::connect(address).await.unwrap();
        let result = within(service.call(listener.accept().await.unwrap().0)).await;
        assert!(result.unwrap_err().is::<RejectReason>());
        assert_eq!(recorded.get(&format!("connections_rejected_total,reason={reason}")), 1.0);
        assert_eq!(recorded.sum("tls_handshake_failures_total"), 0.0);
        assert_eq!(recorded.get("connections_handshaking"), 1.0);
        drop(under_way);
        recorded.assert_at_rest();
    }
    assert_eq!(recorded.sum("connections_rejected_total"), 2.0);
    assert_eq!(recorded.get("connections_closed_total,reason=killed"), 2.0, "those that were dropped");
}

#[tokio::test]
async fn what_the_layer_itself_refuses_is_counted_by_its_name() {
    let (recorded, both) = (Recorded::new(), Both::new());
    let pair = rcgen::generate_simple_self_signed(["elsewhere.test".to_owned()]).unwrap();
    let named = TlsLayer::builder()
        .sni_certificate_pem("elsewhere.test", pair.cert.pem(), pair.signing_key.serialize_pem())
        .build()
        .unwrap();
    let strict = both.builder().require_alpn(true).build().unwrap();
    for (layer, reason) in [(named, "sni"), (strict, "alpn")] {
        for version in [&version::TLS12, &version::TLS13] {
            let service = ServiceBuilder::new().layer(recorded.layer()).layer(layer.clone()).service(Echo);
            let (server, client) = duplex(4096);
            let served = tokio::spawn(service.oneshot(server));
            let name = ServerName::try_from("localhost").unwrap();
            within(both.connector(version, &[]).connect(name, client)).await.unwrap_err();
            assert!(within(served).await.unwrap().is_err());
        }
        assert_eq!(recorded.get(&format!("tls_handshake_failures_total,reason={reason}")), 2.0);
    }
    assert_eq!(recorded.sum("tls_handshake_failures_total"), 4.0);
    recorded.assert_at_rest();
}

/// The last words of a session are no reason of their own, though nobody hears them.
#[tokio::test]
async fn a_session_that_the_service_ends_is_completed_whoever_listens() {
    let (recorded, both) = (Recorded::new(), Both::new());
    for leaves in [false, true] {
        let (left, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let waits = (left.clone(), gone.clone());
        let service = ServiceBuilder::new().layer(recorded.layer()).layer(both.layer.clone()).service_fn(
            move |mut stream: TlsStream<Metered<DuplexStream>>| {
                let (left, gone) = waits.clone();
                async move {
                    stream.write_all(b"all").await?;
                    stream.flush().await?;
                    left.notify_one();
                    gone.notified().await;
                    Ok::<_, BoxError>(())
                }
            },
        );
        let (server, client) = duplex(4096);
        let served = tokio::spawn(service.oneshot(server));
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = within(both.connector(&version::TLS13, &[]).connect(name, client)).await.unwrap();
        within(client.read_exact(&mut [0; 3])).await.unwrap();
        within(left.notified()).await;
        let client = (!leaves).then_some(client);
        gone.notify_one();
        within(served).await.unwrap().unwrap();
        if let Some(mut client) = client {
            assert_eq!(within(client.read(&mut [0])).await.unwrap(), 0, "close_notify");
        }
    }
    assert_eq!(recorded.get("connections_closed_total,reason=completed"), 2.0);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn above_tls_a_handshake_is_counted_when_it_arrives() {
    let (recorded, both) = (Recorded::new(), Both::new());
    let service = ServiceBuilder::new().layer(both.layer.clone()).layer(recorded.layer()).service(Echo);
    visit(service.clone(), &both.connector(&version::TLS13, &["h2"])).await;
    assert_eq!(recorded.get("tls_handshakes_total,version=TLSv1.3,resumed=false"), 1.0);
    assert_eq!(recorded.sum("tls_handshake_duration_seconds"), 0.0, "it did not see that");
    assert_eq!(recorded.get("connection_bytes_total,direction=read"), 4.0, "plain text");
    assert_eq!(recorded.get("connections_closed_total,reason=client_eof"), 1.0);

    let (server, client) = duplex(4096);
    drop(client);
    assert!(within(service.oneshot(server)).await.is_err());
    assert_eq!(recorded.get("connections_accepted_total"), 1.0, "it never came here");
    recorded.assert_at_rest();
}

/// The socket's end looks good from below TLS, and so does a record that TLS cannot read.
#[tokio::test]
async fn how_a_session_broke_is_counted_though_its_stream_was_moved_away() {
    let (recorded, both) = (Recorded::new(), Both::new());
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let service = ServiceBuilder::new().layer(recorded.layer()).layer(both.layer.clone()).service_fn(
        move |stream: TlsStream<Metered<DuplexStream>>| {
            std::future::ready(send.send(stream).map_err(|_| BoxError::from("the test is gone")))
        },
    );
    for (garbage, reason) in [(&b""[..], "tls_truncated"), (b"\x17\x03\x03\0\x02no", "io")] {
        let (server, client) = duplex(4096);
        let served = tokio::spawn(service.clone().oneshot(server));
        let name = ServerName::try_from("localhost").unwrap();
        let client = within(both.connector(&version::TLS13, &[]).connect(name, client)).await.unwrap();
        within(served).await.unwrap().unwrap();
        let mut stream = receive.recv().await.unwrap();
        let (mut below, _) = client.into_inner();
        below.write_all(garbage).await.unwrap();
        below.shutdown().await.unwrap();
        assert!(within(stream.read(&mut [0; 8])).await.is_err());
        drop(stream);
        assert_eq!(recorded.get(&format!("connections_closed_total,reason={reason}")), 1.0, "{reason}");
    }
    recorded.assert_at_rest();
}

#[tokio::test]
async fn the_session_is_seen_through_the_layers() {
    use portcullis_layers::track::{Activity, TrackLayer, Tracker};

    let (recorded, both, tracker) = (Recorded::new(), Both::new(), Tracker::new());
    let mut service = ServiceBuilder::new()
        .layer(recorded.layer())
        .layer(TrackLayer::new(tracker.clone()))
        .layer(both.layer.clone())
        .layer(TrackLayer::new(Tracker::new()))
        .layer(recorded.build(|| portcullis_layers::metrics::MetricsLayer::new("plain")))
        .service(tower::service_fn(|mut stream: _| async move {
            sees_its_session(&stream);
            AsyncWriteExt::shutdown(&mut stream).await?;
            Ok::<_, BoxError>(())
        }));

    let (server, client) = duplex(4096);
    let mut future = pin!(service.call(server));
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(tracker.connections()[0].activity, Activity::Handshaking);

    let connector = both.connector(&version::TLS13, &["h2"]);
    let client = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = connector.connect(name, client).await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
    };
    let (served, ()) = within(async { tokio::join!(future, client) }).await;
    served.unwrap();
    assert_eq!(recorded.sum("tls_handshakes_total"), 1.0);
    let above = "portcullis_tls_handshakes_total{listener=plain,version=TLSv1.3,resumed=false}";
    assert_eq!(recorded.all()[above].value, 1.0);
    recorded.assert_at_rest();
}

fn sees_its_session<C: Connection>(stream: &C) {
    assert_eq!(stream.tls().and_then(|session| session.alpn.as_deref()), Some(&b"h2"[..]));
}

/// Also where the stream lives on elsewhere, and the service had nothing to complain of.
#[tokio::test]
async fn a_connection_whose_client_was_revoked_is_counted_as_that() {
    let recorded = Recorded::new();
    let authority = Authority::new("a CA");
    let (pair, bob) = (authority.server(), authority.client());
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("crl.pem");
    let revoke = |serials: &[_]| std::fs::write(&list, authority.crl(serials)).unwrap();
    revoke(&[]);
    let roots = ClientRoots::from_pem(authority.pem.clone()).crl_file(&list);
    let (layer, reloader) = TlsLayer::builder()
        .certificate_pem(pair.pem, pair.key_pem)
        .client_auth(ClientAuth::Required(roots))
        .end_revoked(true)
        .build_reloadable()
        .unwrap();
    let provider = layer.config().crypto_provider().clone();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(bob.chain(), bob.key.clone_key())
        .unwrap();
    let connector = TlsConnector::from(Arc::new(config));

    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let moving = ServiceBuilder::new().layer(recorded.layer()).layer(layer.clone()).service_fn(
        move |stream: TlsStream<Metered<DuplexStream>>| {
            std::future::ready(send.send(stream).map_err(|_| BoxError::from("the test is gone")))
        },
    );
    let echoing = ServiceBuilder::new().layer(recorded.layer()).layer(layer.clone()).service(Echo);
    let (server, client) = duplex(4096);
    let served = tokio::spawn(echoing.oneshot(server));
    let mut one = within(connector.connect("localhost".try_into().unwrap(), client)).await.unwrap();
    // It is being served, not in its handshake any more.
    one.write_u8(1).await.unwrap();
    within(one.read_u8()).await.unwrap();
    let (server, client) = duplex(4096);
    let moved = tokio::spawn(moving.oneshot(server));
    let _other = within(connector.connect("localhost".try_into().unwrap(), client)).await.unwrap();
    within(moved).await.unwrap().unwrap();
    let mut stream = receive.recv().await.unwrap();

    revoke(std::slice::from_ref(&bob.serial));
    assert!(reloader.reload().unwrap().trust_changed);
    assert!(within(served).await.unwrap().is_err());
    assert!(within(stream.read_u8()).await.is_err());
    drop(stream);
    assert_eq!(recorded.get("connections_closed_total,reason=revoked"), 2.0);
    recorded.assert_at_rest();
}
