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
            ClientConfig, ServerConfig, pki_types::UnixTime, time_provider::TimeProvider, version::TLS13,
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
async fn a_returning_client_with_a_good_certificate_is_resumed() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    let roots = || ClientRoots::from_pem(authority.pem.clone());
    for auth in [ClientAuth::Optional(roots()), ClientAuth::Required(roots())] {
        let layer = server(&authority).client_auth(auth).build().unwrap();
        for version in VERSIONS {
            let config = Arc::new(client(&authority, version, Some(&alice)));
            assert!(!visit(&layer, &config).await);
            assert!(visit(&layer, &config).await);
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
            assert!(!visit(&layer, &config).await);
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

#[tokio::test]
async fn a_certificate_that_has_expired_since_is_not_resumed() {
    let authority = Authority::new("a CA");
    let alice = authority.client();
    for version in VERSIONS {
        let clock = Arc::new(Clock::default());
        let layer = server(&authority)
            .client_auth(ClientAuth::Required(ClientRoots::from_pem(authority.pem.clone())))
            .time_provider(clock.clone())
            .build()
            .unwrap();
        let config = Arc::new(client(&authority, version, Some(&alice)));
        visit(&layer, &config).await;
        assert!(visit(&layer, &config).await, "there is a session to resume");
        clock.years_ahead.store(3000, Ordering::Relaxed);
        let (io, accepted) = tcp().await;
        let (error, _) = tokio::join!(refused(&layer, accepted), async {
            let mut stream = connect(&config, io).await?;
            stream.read_to_end(&mut Vec::new()).await
        });
        assert_eq!(error.failure(), HandshakeFailure::CertExpired);
    }
}

/// What the layer guards against: left to itself, rustls lets the expired certificate in. If this fails one day, judging again
/// can be left to rustls.
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
