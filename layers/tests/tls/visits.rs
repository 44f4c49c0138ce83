//! Clients that come, are served or refused, and come again.

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
        ClientIdentity, HandshakeError, HandshakeFailure, TlsLayer, TlsStream,
        rustls::{
            AlertDescription, ClientConfig,
            pki_types::{CertificateDer, UnixTime},
            time_provider::TimeProvider,
        },
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tower::{Layer, service_fn};

use crate::ends::{alert_to, connect, refused, serve, tcp};
use crate::within::within;

/// What was seen of a client that was served.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) resumed: bool,
    pub(crate) identity: Option<ClientIdentity>,
    /// What the client saw.
    pub(crate) server: CertificateDer<'static>,
}

/// Connects, and waits for what the server sends (tickets too); or says why the client was refused, and sees to it that
/// the service has not seen it.
pub(crate) async fn visit(layer: &TlsLayer, config: &Arc<ClientConfig>) -> Result<Visit, HandshakeFailure> {
    let (tell, mut told) = mpsc::channel(1);
    let stack = layer.layer(service_fn(move |mut stream: TlsStream<TcpStream>| {
        let tell = tell.clone();
        async move {
            let session = stream.tls().expect("a session");
            tell.send((session.resumed, session.client_identity.as_deref().cloned())).await?;
            stream.write_all(b"hello").await?;
            stream.shutdown().await?;
            Ok::<(), BoxError>(())
        }
    }));
    let (io, accepted) = tcp().await;
    let served = serve(stack, accepted);
    let talk = async {
        let mut stream = connect(config, io).await?;
        let server = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await?;
        assert_eq!(heard, "hello");
        Ok::<_, std::io::Error>(server)
    };
    let (served, heard) = within(async { tokio::join!(served, talk) }).await;
    match served.unwrap() {
        Ok(()) => {
            let (resumed, identity) = told.recv().await.unwrap();
            Ok(Visit { resumed, identity, server: heard.unwrap() })
        }
        Err(error) => {
            assert!(told.recv().await.is_none(), "the service saw a client that was refused");
            assert!(heard.is_err(), "a client that was refused saw an orderly end");
            Err(error.downcast::<HandshakeError>().expect("no error of a handshake").failure())
        }
    }
}

/// Connects, must be refused, and sees to it that the service has not seen it. Why that was, and the alert that the client got.
pub(crate) async fn turned_away(
    layer: &TlsLayer,
    config: &Arc<ClientConfig>,
) -> (HandshakeFailure, AlertDescription) {
    let (io, accepted) = tcp().await;
    let talk = async { alert_to(connect(config, io).await).await };
    let (error, alert) = tokio::join!(refused(layer, accepted), talk);
    (error.failure(), alert)
}

/// Whether the client resumes a session; it must be served.
#[track_caller]
pub(crate) fn resumed(visit: Result<Visit, HandshakeFailure>) -> bool {
    visit.expect("should have been served").resumed
}

/// A clock that can be put forward. Certificates of these tests end in the year 4096, revocation lists in 4000.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    seconds_ahead: AtomicU64,
}

impl Clock {
    pub(crate) fn put_forward(&self, years: u64) {
        self.put_forward_hours(years * 366 * 24);
    }

    pub(crate) fn put_forward_hours(&self, hours: u64) {
        self.seconds_ahead.store(hours * 60 * 60, Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = SystemTime::UNIX_EPOCH.elapsed().ok()?;
        let ahead = Duration::from_secs(self.seconds_ahead.load(Ordering::Relaxed));
        Some(UnixTime::since_unix_epoch(now + ahead))
    }
}
