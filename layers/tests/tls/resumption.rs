//! When a session is resumed, and when it must not be; T11's 0-RTT.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use portcullis_layers::{
    BoxError, Connection,
    tls::{
        ClientAuth, ClientRoots, HandshakeFailure, TlsLayer, TlsStream,
        rustls::{
            ClientConfig, ServerConfig, pki_types::UnixTime, server::ServerSessionMemoryCache,
            time_provider::TimeProvider, version::TLS13,
        },
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, service_fn};

use crate::{
    certificates::Authority,
    ends::{VERSIONS, client, connect, refused, serve, server, soon, tcp},
};

/// Connects, waits for what the server sends (tickets too), and says whether the session was resumed.
async fn visit(layer: &TlsLayer, config: &Arc<ClientConfig>) -> bool {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let stack = layer.layer(service_fn(move |mut stream: TlsStream<TcpStream>| {
        let tell = tell.clone();
        async move {
            tell.send(stream.tls().unwrap().resumed()).await?;
            stream.write_all(b"hello").await?;
            stream.shutdown().await?;
            Ok::<(), BoxError>(())
        }
    }));
    let (io, accepted) = tcp().await;
    let served = serve(stack, accepted);
    let mut stream = connect(config, io).await.unwrap();
    soon(stream.read_to_end(&mut Vec::new())).await.unwrap();
    soon(served).await.unwrap().unwrap();
    told.recv().await.unwrap()
}

#[tokio::test]
async fn without_client_certificates_a_returning_client_is_resumed() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    for version in VERSIONS {
        let config = Arc::new(client(&authority, version, None));
        assert!(!visit(&layer, &config).await);
        assert!(visit(&layer, &config).await);
    }
}

#[tokio::test]
async fn where_client_certificates_are_asked_for_nobody_is_resumed() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    let roots = || ClientRoots::from_pem(authority.pem.clone());
    for auth in [ClientAuth::Optional(roots()), ClientAuth::Required(roots())] {
        let layer = server(&authority).client_auth(auth).build().unwrap();
        for version in VERSIONS {
            let config = Arc::new(client(&authority, version, Some(&alice)));
            for _ in 0..3 {
                assert!(!visit(&layer, &config).await);
            }
        }
    }
}

/// The server's clock for the verifier. Certificates of this test end in the year 4096.
#[derive(Debug, Default)]
struct Clock {
    years_ahead: AtomicU64,
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = SystemTime::UNIX_EPOCH.elapsed().ok()?;
        let ahead = Duration::from_secs(self.years_ahead.load(Ordering::Relaxed) * 366 * 86_400);
        Some(UnixTime::since_unix_epoch(now + ahead))
    }
}

/// The same configuration under a clock of the test's.
fn with_clock(layer: &TlsLayer, change: impl FnOnce(&mut ServerConfig)) -> (TlsLayer, Arc<Clock>) {
    let clock = Arc::new(Clock::default());
    let mut config = ServerConfig::clone(layer.config());
    config.time_provider = Arc::clone(&clock) as _;
    change(&mut config);
    (TlsLayer::from_config(Arc::new(config)), clock)
}

#[tokio::test]
async fn the_verifier_runs_again_for_a_returning_client() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    let layer = server(&authority)
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
        .build()
        .unwrap();
    for version in VERSIONS {
        let config = Arc::new(client(&authority, version, Some(&alice)));
        let (layer, clock) = with_clock(&layer, |_| ());
        visit(&layer, &config).await;
        clock.years_ahead.store(3000, Ordering::Relaxed);
        let (io, accepted) = tcp().await;
        let (error, _) = tokio::join!(refused(&layer, accepted), async {
            let mut stream = connect(&config, io).await?;
            stream.read_to_end(&mut Vec::new()).await
        });
        assert_eq!(error.failure(), HandshakeFailure::CertExpired);
    }
}

/// What the layer guards against: with resumption on, rustls lets the expired certificate in. If this fails
/// one day, the rule can be relaxed.
#[tokio::test]
async fn with_resumption_the_verifier_would_not_run_again() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    let layer = server(&authority)
        .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
        .build()
        .unwrap();
    for version in VERSIONS {
        let config = Arc::new(client(&authority, version, Some(&alice)));
        let (layer, clock) = with_clock(&layer, |config| {
            config.session_storage = ServerSessionMemoryCache::new(16);
            config.send_tls13_tickets = 2;
        });
        visit(&layer, &config).await;
        clock.years_ahead.store(3000, Ordering::Relaxed);
        assert!(visit(&layer, &config).await);
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
    visit(&layer, &config).await;
    // The server's tickets do not offer it: a client that would send some has no leave to.
    let name = "localhost".try_into().unwrap();
    let mut connection =
        portcullis_layers::tls::rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
    assert!(connection.early_data().is_none());
}
