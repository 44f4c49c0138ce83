//! Open connections of clients that are let in no more. On TLS 1.2 and 1.3.

use std::{
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
};

use portcullis_layers::{
    BoxError, CloseReason, Outcome,
    tls::{
        ClientAuth, ClientRoots, HandshakeError, HandshakeFailure, Revoked, TlsBuilder, TlsLayer,
        TlsReloader, TlsStream,
        rustls::{ClientConfig, SupportedProtocolVersion, version::TLS13},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::client;
use tower::{Layer, Service, service_fn};

use crate::{
    certificates::{Authority, Pair},
    ends::{self, VERSIONS, connect, serve, server, tcp},
    files::Files,
    within::within,
};

/// A server whose revocation list can be replaced.
struct Site {
    authority: Authority,
    files: Files,
    layer: TlsLayer,
    reloader: TlsReloader,
}

impl Site {
    fn new(build: impl FnOnce(TlsBuilder) -> TlsBuilder) -> Self {
        Self::that(ClientAuth::Required, build)
    }

    fn that(auth: fn(ClientRoots) -> ClientAuth, build: impl FnOnce(TlsBuilder) -> TlsBuilder) -> Self {
        let (authority, files) = (Authority::new("a CA"), Files::new());
        let roots =
            ClientRoots::from_pem(authority.pem.clone()).crl_file(files.write("crl.pem", authority.crl([])));
        let builder = build(server(&authority).client_auth(auth(roots)));
        let (layer, reloader) = builder.build_reloadable().unwrap();
        Self { authority, files, layer, reloader }
    }

    fn ending() -> Self {
        Self::new(|builder| builder.end_revoked(true))
    }

    fn revoke(&self, pairs: &[&Pair]) {
        self.files.write("crl.pem", self.authority.crl(pairs.iter().map(|pair| &pair.serial)));
        assert!(self.reloader.reload().unwrap().trust_changed);
    }

    fn client(&self, version: &'static SupportedProtocolVersion, pair: Option<&Pair>) -> Arc<ClientConfig> {
        Arc::new(ends::client(&self.authority, version, pair))
    }
}

/// A client that is being served by a service which sends back what it reads.
struct Open {
    client: client::TlsStream<TcpStream>,
    served: JoinHandle<Result<(), BoxError>>,
}

impl Open {
    async fn new(site: &Site, version: &'static SupportedProtocolVersion, pair: Option<&Pair>) -> Self {
        let echo = service_fn(|mut stream: TlsStream<TcpStream>| async move {
            loop {
                let byte = stream.read_u8().await?;
                stream.write_u8(byte).await?;
                stream.flush().await?;
            }
            #[allow(unreachable_code)]
            Ok::<(), BoxError>(())
        });
        let (io, accepted) = tcp().await;
        let served = serve(site.layer.layer(echo), accepted);
        let client = connect(&site.client(version, pair), io).await.unwrap();
        let mut open = Self { client, served };
        open.answers().await;
        open
    }

    async fn answers(&mut self) {
        self.client.write_u8(7).await.unwrap();
        assert_eq!(within(self.client.read_u8()).await.unwrap(), 7);
    }

    /// What ended it; nobody has said anything meanwhile.
    async fn ended(mut self) -> BoxError {
        let error = within(self.served).await.unwrap().unwrap_err();
        assert!(within(self.client.read_u8()).await.is_err(), "the client is still connected");
        error
    }
}

fn reason(error: &BoxError) -> Outcome {
    Outcome::of(Err(&**error))
}

fn serial(pair: &Pair) -> String {
    pair.serial.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

const REVOKED: Outcome = Outcome::Closed(CloseReason::Revoked);

#[tokio::test]
async fn a_connection_ends_when_its_client_is_revoked_and_the_others_go_on() {
    for version in VERSIONS {
        let site = Site::ending();
        let (alice, bob) = (site.authority.client(), site.authority.client());
        let mut alices = Open::new(&site, version, Some(&alice)).await;
        let bobs = Open::new(&site, version, Some(&bob)).await;
        let others_of_bob = Open::new(&site, version, Some(&bob)).await;
        site.revoke(&[&bob]);
        for bobs in [bobs, others_of_bob] {
            let error = bobs.ended().await;
            assert_eq!(reason(&error), REVOKED);
            let revoked = error.downcast_ref::<Revoked>().unwrap();
            assert_eq!(revoked.client().serial, serial(&bob));
            assert_eq!(revoked.failure(), HandshakeFailure::CertRevoked);
            assert_eq!(revoked.to_string(), "the client a client is let in no more (cert_revoked)");
        }
        alices.answers().await;
        // And she is still watched.
        site.revoke(&[&bob, &alice]);
        assert_eq!(reason(&alices.ended().await), REVOKED);
    }
}

/// A service that fails for a reason of its own goes on to say so, whoever its client is by then.
#[tokio::test]
async fn what_a_service_says_at_that_moment_is_not_lost() {
    for version in VERSIONS {
        let site = Arc::new(Site::ending());
        let bob = Arc::new(site.authority.client());
        let revokes = service_fn({
            let (site, bob) = (site.clone(), bob.clone());
            move |_: TlsStream<TcpStream>| {
                let (site, bob) = (site.clone(), bob.clone());
                async move {
                    site.revoke(&[&bob]);
                    Err::<(), _>(BoxError::from("the disk is full"))
                }
            }
        });
        let (io, accepted) = tcp().await;
        let served = serve(site.layer.layer(revokes), accepted);
        let client = connect(&site.client(version, Some(&bob)), io).await.unwrap();
        let error = within(served).await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the disk is full");
        drop(client);
    }
}

#[tokio::test]
async fn unless_it_is_asked_for_open_connections_go_on() {
    for version in VERSIONS {
        let site = Site::new(|builder| builder);
        let bob = site.authority.client();
        let mut bobs = Open::new(&site, version, Some(&bob)).await;
        site.revoke(&[&bob]);
        bobs.answers().await;
    }
}

#[tokio::test]
async fn a_reload_that_trusts_the_same_ends_nobody() {
    for version in VERSIONS {
        let site = Site::ending();
        let bob = site.authority.client();
        let mut bobs = Open::new(&site, version, Some(&bob)).await;
        assert!(!site.reloader.reload().unwrap().trust_changed);
        bobs.answers().await;
        site.revoke(&[&bob]);
        assert_eq!(reason(&bobs.ended().await), REVOKED);
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_has_none_to_be_revoked() {
    let site = Site::that(ClientAuth::Optional, |builder| builder.end_revoked(true));
    let bob = site.authority.client();
    for version in VERSIONS {
        let mut nobodys = Open::new(&site, version, None).await;
        site.revoke(&[&bob]);
        nobodys.answers().await;
        site.revoke(&[]);
    }
}

#[tokio::test]
async fn a_returning_client_is_watched_as_well() {
    for version in VERSIONS {
        let site = Site::ending();
        let bob = site.authority.client();
        let config = site.client(version, Some(&bob));
        crate::visits::visit(&site.layer, &config).await.unwrap();
        let (mut stream, _client) = moved_away_with(&site, &config).await;
        assert!(stream.info().resumed);
        site.revoke(&[&bob]);
        assert_revoked(&within(stream.read_u8()).await.unwrap_err());
    }
}

/// The stream of a connection that was moved out of its service, whose future is over; and the client's end.
async fn moved_away_with(
    site: &Site,
    config: &Arc<ClientConfig>,
) -> (TlsStream<DuplexStream>, client::TlsStream<DuplexStream>) {
    let (send, mut receive) = mpsc::unbounded_channel();
    let stack = site.layer.layer(service_fn(move |stream| {
        let sent = send.send(stream).map_err(|_| BoxError::from("the test is gone"));
        async { sent }
    }));
    let (io, accepted) = duplex(4096);
    let served = serve(stack, accepted);
    let client = connect(config, io).await.unwrap();
    within(served).await.unwrap().unwrap();
    (receive.recv().await.unwrap(), client)
}

#[track_caller]
fn assert_revoked(error: &io::Error) {
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(error.get_ref().and_then(|carried| carried.downcast_ref()), Some(&CloseReason::Revoked));
}

#[tokio::test]
async fn a_stream_that_was_moved_away_fails_and_wakes_who_waits_in_it() {
    for version in VERSIONS {
        let site = Site::ending();
        let bob = site.authority.client();
        let config = site.client(version, Some(&bob));

        // Two tasks wait in it: one for what never comes, one to write to a client that does not read.
        let (stream, _client) = moved_away_with(&site, &config).await;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (tell, mut told) = mpsc::channel(2);
        let reads = tokio::spawn({
            let tell = tell.clone();
            async move {
                let mut read = pin!(reader.read_u8());
                assert!(read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                tell.send(()).await.unwrap();
                read.await
            }
        });
        let writes = tokio::spawn(async move {
            let much = vec![0; 1 << 20];
            let mut write = pin!(writer.write_all(&much));
            assert!(write.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            tell.send(()).await.unwrap();
            write.await
        });
        for _ in 0..2 {
            within(told.recv()).await.unwrap();
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        site.revoke(&[&bob]);
        assert_revoked(&within(reads).await.unwrap().unwrap_err());
        assert_revoked(&within(writes).await.unwrap().unwrap_err());

        // One in which nobody waits says so when it is asked, whichever way.
        site.revoke(&[]);
        let (mut stream, mut client) = moved_away_with(&site, &config).await;
        client.write_all(b"in time").await.unwrap();
        site.revoke(&[&bob]);
        assert_revoked(&stream.read_u8().await.unwrap_err());
        assert_revoked(&stream.write_u8(1).await.unwrap_err());
        assert_revoked(&stream.flush().await.unwrap_err());
        assert_revoked(&stream.shutdown().await.unwrap_err());
    }
}

/// A waker holds the memory of its task, and a connection's future is large.
#[tokio::test]
async fn a_stream_that_was_moved_away_does_not_keep_the_task_of_its_connection() {
    struct Task;
    impl std::task::Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    let site = Site::ending();
    let bob = site.authority.client();
    let (send, mut receive) = mpsc::unbounded_channel();
    let (go, gone) = tokio::sync::watch::channel(false);
    let mut service = site.layer.layer(service_fn(move |stream: TlsStream<DuplexStream>| {
        let (send, mut gone) = (send.clone(), gone.clone());
        async move {
            gone.wait_for(|gone| *gone).await?;
            send.send(stream).map_err(|_| BoxError::from("the test is gone"))
        }
    }));
    let (io, accepted) = duplex(4096);
    let mut future = Box::pin(service.call(accepted));
    let client = site.client(&TLS13, Some(&bob));
    let mut client = pin!(connect(&client, io));
    let task = Arc::new(Task);
    let alive = Arc::downgrade(&task);
    let waker = Waker::from(task);
    // Until the service runs and waits.
    let mut client = within(std::future::poll_fn(|cx| {
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        cx.waker().wake_by_ref();
        client.as_mut().poll(cx)
    }))
    .await
    .unwrap();
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    go.send(true).unwrap();
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    let mut stream = receive.recv().await.unwrap();
    drop((future, waker, go, service));
    // The pipe has kept the waker of the last read of the handshake; that is the pipe's.
    client.write_u8(1).await.unwrap();
    assert!(alive.upgrade().is_none(), "the task is kept");
    site.revoke(&[&bob]);
    assert_revoked(&within(stream.read_u8()).await.unwrap_err());
    drop(client);
}

/// Whoever has begun under the old rules is judged by the new ones.
#[tokio::test]
async fn a_handshake_in_progress_is_judged_by_the_new_rules() {
    for ends_revoked in [false, true] {
        for version in VERSIONS {
            let site = Site::new(|builder| builder.end_revoked(ends_revoked));
            let (alice, bob) = (site.authority.client(), site.authority.client());
            let mut begun = Vec::new();
            for pair in [&alice, &bob] {
                let mut service =
                    site.layer.layer(service_fn(|mut stream: TlsStream<DuplexStream>| async move {
                        Ok::<(), BoxError>(stream.shutdown().await?)
                    }));
                let (io, accepted) = duplex(1 << 16);
                let mut future = Box::pin(service.call(accepted));
                let config = site.client(version, Some(pair));
                let mut talk = Box::pin(async move {
                    let mut stream = connect(&config, io).await?;
                    stream.read_to_end(&mut Vec::new()).await
                });
                // The ClientHello, and the server's answer to it.
                let noop = &mut Context::from_waker(Waker::noop());
                assert!(talk.as_mut().poll(noop).is_pending());
                assert!(future.as_mut().poll(noop).is_pending());
                begun.push((future, talk));
            }
            site.revoke(&[&bob]);
            let mut outcomes = Vec::new();
            for (future, talk) in begun {
                let (served, _) = within(async { tokio::join!(future, talk) }).await;
                outcomes.push(served);
            }
            assert!(outcomes[0].is_ok(), "{:?}", outcomes[0]);
            let error = outcomes.pop().unwrap().unwrap_err().downcast::<HandshakeError>().unwrap();
            assert_eq!(error.failure(), HandshakeFailure::CertRevoked);
        }
    }
}

/// Whenever the reload comes: in the handshake, or after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_opens_while_its_client_is_revoked_does_not_stay() {
    let site = Arc::new(Site::ending());
    let bob = site.authority.client();
    let config = site.client(&TLS13, Some(&bob));
    for _ in 0..50 {
        site.files.write("crl.pem", site.authority.crl([]));
        site.reloader.reload().unwrap();
        let (io, accepted) = tcp().await;
        let served = serve(
            site.layer.layer(service_fn(|mut stream: TlsStream<TcpStream>| async move {
                stream.read_u8().await?;
                Ok::<(), BoxError>(())
            })),
            accepted,
        );
        site.files.write("crl.pem", site.authority.crl([&bob.serial]));
        let reload = tokio::task::spawn_blocking({
            let site = Arc::clone(&site);
            move || site.reloader.reload().unwrap()
        });
        let client = connect(&config, io).await;
        assert!(within(reload).await.unwrap().trust_changed);
        let ending = reason(&within(served).await.unwrap().unwrap_err());
        assert!(
            [REVOKED, Outcome::HandshakeFailed(HandshakeFailure::CertRevoked)].contains(&ending),
            "{ending}"
        );
        drop(client);
    }
}
