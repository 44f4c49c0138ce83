//! The two ends of a connection: the layer under test, and a client.

use std::{io, sync::Arc};

use portcullis_layers::{
    BoxError, Connection,
    tls::{
        HandshakeError, TlsBuilder, TlsLayer, TlsStream,
        rustls::{
            self, ClientConfig, RootCertStore, SupportedProtocolVersion,
            crypto::CryptoProvider,
            pki_types::ServerName,
            version::{TLS12, TLS13},
        },
    },
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{
    certificates::{Authority, Pair},
    crypto::default_provider,
    within::within,
};

/// Both versions, for what must hold in both.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A client and a server, connected.
pub(crate) async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// A layer with a certificate of this CA's for `localhost`.
pub(crate) fn server(authority: &Authority) -> TlsBuilder {
    let pair = authority.server();
    TlsLayer::builder().certificate_pem(pair.pem, pair.key_pem)
}

/// A client that trusts this CA, speaks one version, and has this certificate.
pub(crate) fn client(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    certificate: Option<&Pair>,
) -> ClientConfig {
    client_with(default_provider(), authority, version, certificate)
}

/// As [`client`], with other ciphers or groups.
pub(crate) fn client_with(
    provider: CryptoProvider,
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    certificate: Option<&Pair>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    match certificate {
        Some(pair) => builder.with_client_auth_cert(pair.chain(), pair.key.clone_key()).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

/// The client's side of a handshake.
pub(crate) async fn connect<IO>(config: &Arc<ClientConfig>, io: IO) -> io::Result<client::TlsStream<IO>>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    connect_to("localhost", config, io).await
}

/// As [`connect`], to a server of this name.
pub(crate) async fn connect_to<IO>(
    name: &str,
    config: &Arc<ClientConfig>,
    io: IO,
) -> io::Result<client::TlsStream<IO>>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within(TlsConnector::from(Arc::clone(config)).connect(name, io)).await
}

/// Serves one connection in a task.
pub(crate) fn serve<C, S>(stack: S, connection: C) -> JoinHandle<Result<(), BoxError>>
where
    C: Connection,
    S: Service<C, Response = (), Error = BoxError> + Send + 'static,
    S::Future: Send,
{
    tokio::spawn(async move { stack.oneshot(connection).await })
}

/// Serves one connection that must be refused: the service above must not see it.
pub(crate) async fn refused<C: Connection>(layer: &TlsLayer, connection: C) -> HandshakeError {
    let error = refused_somehow(layer, connection).await;
    *error.downcast::<HandshakeError>().expect("not a handshake error")
}

/// As [`refused`], for any error.
pub(crate) async fn refused_somehow<C: Connection>(layer: &TlsLayer, connection: C) -> BoxError {
    let stack = layer.layer(service_fn(|_: TlsStream<C>| async {
        panic!("the service was called after a handshake that failed");
        #[allow(unreachable_code)]
        Ok::<(), BoxError>(())
    }));
    within(serve(stack, connection)).await.unwrap().expect_err("the connection was served")
}

/// The alert that the server sent, as rustls at the client's side tells it.
///
/// A TLS 1.3 client has completed its handshake before its certificate is refused, so it must read.
pub(crate) async fn alert_to<IO>(connected: io::Result<client::TlsStream<IO>>) -> rustls::AlertDescription
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let error = match connected {
        Ok(mut stream) => {
            within(stream.read_to_end(&mut Vec::new())).await.expect_err("the server sent close_notify")
        }
        Err(error) => error,
    };
    match error.get_ref().and_then(|carried| carried.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert: {error:?}"),
    }
}
