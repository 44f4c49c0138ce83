use std::sync::Arc;

use axum::{Extension, Router, routing::get};
use portcullis_layers::{
    BoxError, Peer, TlsInfo,
    tls::{ClientAuth, ClientRoots, TlsLayer, TlsVersion, rustls},
    track::Tracker,
};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::{io::AsyncWriteExt, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::{Layer, Service};

use super::{Claimed, GET, HttpLeaf, read_through, read_to_end, result};

/// A client with a certificate, and a server that demands one, which serves `router` until `drain`.
async fn mutual_tls(
    router: Router,
    drain: &Tracker,
) -> (TlsStream<tokio::io::DuplexStream>, JoinHandle<Result<(), BoxError>>) {
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let client = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    let tls = TlsLayer::builder()
        .certificate_pem(server.cert.pem(), server.signing_key.serialize_pem())
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(client.cert.pem())))
        .alpn(["h2", "http/1.1"])
        .build()
        .unwrap();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.cert.der().clone()).unwrap();
    let provider = tls.config().crypto_provider().clone();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![client.cert.der().clone()],
            PrivateKeyDer::try_from(client.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];

    let (near, far) = tokio::io::duplex(16 * 1024);
    let mut stack = tls.layer(HttpLeaf::new(router));
    let served = tokio::spawn(stack.call(Claimed::new(far, Peer::Unknown, drain.drain())));
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, near).await.unwrap();
    (stream, served)
}

#[tokio::test]
async fn a_request_knows_its_tls_session() {
    let router = Router::new().route(
        "/",
        get(async |Extension(tls): Extension<Arc<TlsInfo>>| {
            assert_eq!(tls.version, TlsVersion::V1_3);
            assert_eq!(tls.server_name.as_deref(), Some("localhost"));
            assert_eq!(tls.alpn.as_deref(), Some(b"http/1.1".as_slice()));
            format!("{} certificate", usize::from(tls.client_identity.is_some()))
        }),
    );
    let (mut client, served) = mutual_tls(router, &Tracker::new()).await;
    client.write_all(GET).await.unwrap();
    read_through(&mut client, "\r\n\r\n1 certificate").await;
    client.shutdown().await.unwrap();
    result(served).await.unwrap();
}

#[tokio::test]
async fn a_drain_closes_the_tls_session_in_good_order() {
    let drain = Tracker::new();
    let (mut client, served) = mutual_tls(super::ok(), &drain).await;
    client.write_all(GET).await.unwrap();
    read_through(&mut client, "\r\n\r\nok").await;
    drain.start_drain();
    // Without close_notify this is an error.
    read_to_end(&mut client).await;
    result(served).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_the_tls_session_of_a_newcomer_in_good_order() {
    let drain = Tracker::new();
    let (mut client, served) = mutual_tls(super::ok(), &drain).await;
    drain.start_drain();
    tokio::time::sleep(super::NEWCOMER * 2).await;
    read_to_end(&mut client).await;
    result(served).await.unwrap();
}
