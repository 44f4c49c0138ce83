//! The list says whether a connection is protected, and who its client is.

use std::sync::Arc;

use portcullis_layers::{
    BoxError,
    tls::{
        ClientAuth, ClientRoots, TlsLayer, TlsStream, TlsVersion,
        rustls::{
            ClientConfig, RootCertStore, SupportedProtocolVersion,
            version::{TLS12, TLS13},
        },
    },
    track::{TrackLayer, Tracked, TrackedConnection, Tracker},
};
use rcgen::DnType;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::{
    certificates::{Authority, Pair},
    moved_away, within,
};

fn connector(
    layer: &TlsLayer,
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    pair: Option<&Pair>,
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(layer.config().crypto_provider().clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let config = match pair {
        Some(pair) => builder.with_client_auth_cert(pair.chain(), pair.key.clone_key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    TlsConnector::from(Arc::new(config))
}

/// What the list says of a client that is being served, with the tracking below TLS and above it.
async fn listed(layer: &TlsLayer, connector: &TlsConnector) -> [TrackedConnection; 2] {
    let (below, above) = (Tracker::new(), Tracker::new());
    let stack = ServiceBuilder::new()
        .layer(TrackLayer::new(below.clone()))
        .layer(layer.clone())
        .layer(TrackLayer::new(above.clone()))
        .service(service_fn(|mut stream: Tracked<TlsStream<Tracked<DuplexStream>>>| async move {
            stream.write_u8(1).await?;
            stream.read_to_end(&mut Vec::new()).await?;
            Ok::<_, BoxError>(stream.shutdown().await?)
        }));
    let (client, server) = duplex(4096);
    let served = tokio::spawn(stack.oneshot(server));
    while below.is_empty() {
        tokio::task::yield_now().await;
    }
    let before = &below.connections()[0];
    assert_eq!((before.tls, &before.identity), (None, &None), "before its handshake");

    let mut client = within(connector.connect("localhost".try_into().unwrap(), client)).await.unwrap();
    within(client.read_u8()).await.unwrap();
    let listed = [&below, &above].map(|tracker| tracker.connections().remove(0));
    client.shutdown().await.unwrap();
    within(client.read_to_end(&mut Vec::new())).await.unwrap();
    within(served).await.unwrap().unwrap();
    listed
}

#[tokio::test]
async fn the_list_says_whom_the_certificate_names_and_by_which_version() {
    let authority = Authority::new("a CA");
    let pair = authority.server();
    let layer = TlsLayer::builder()
        .certificate_pem(pair.pem, pair.key_pem)
        .client_auth(ClientAuth::Optional(ClientRoots::from_pem(authority.pem.clone())))
        .build()
        .unwrap();
    let alice = authority
        .client_that(|params| params.distinguished_name.push(DnType::CommonName, "Alice\n\u{202e}\"Liddell"));
    for (version, name) in [(&TLS12, TlsVersion::V1_2), (&TLS13, TlsVersion::V1_3)] {
        let alices = connector(&layer, &authority, version, Some(&alice));
        // The second time by a session, with no certificate shown.
        for _ in 0..2 {
            for connection in listed(&layer, &alices).await {
                assert_eq!(connection.tls, Some(name));
                assert_eq!(connection.identity.as_deref(), Some(r#"Alice\n\u{202e}\"Liddell"#));
            }
        }
        for connection in listed(&layer, &connector(&layer, &authority, version, None)).await {
            assert_eq!((connection.tls, connection.identity), (Some(name), None));
        }
    }
}

#[tokio::test]
async fn without_tls_there_is_nothing_to_say() {
    let tracker = Tracker::new();
    let (_stream, _client) = moved_away(&tracker, 1).await;
    let connection = tracker.connections().remove(0);
    assert_eq!((connection.tls, connection.identity), (None, None));
}
