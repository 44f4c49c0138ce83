//! How a session ends when the server ends it: close_notify comes after everything that was said, and only then. On TLS 1.2 and 1.3.

use std::{
    future::{Future, pending, poll_fn, ready},
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
};

use portcullis_layers::{
    BoxError, CloseReason, Connection,
    tls::{ClientAuth, ClientRoots, Revoked, TlsLayer, TlsStream, rustls::SupportedProtocolVersion},
    track::{TrackLayer, Tracked, Tracker},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
    sync::mpsc,
    task::{JoinHandle, coop},
};
use tokio_rustls::client::TlsStream as Client;
use tower::{Layer, service_fn};

use crate::{
    certificates::{Authority, Pair},
    ends::{VERSIONS, client, connect, serve, server, tcp},
    files::Files,
    within::within,
};

/// More than all the buffers in between hold.
const MUCH: usize = 1024 * 1024;

/// A server, and clients that trust it.
struct Site {
    authority: Authority,
    layer: TlsLayer,
}

impl Site {
    fn new() -> Self {
        let authority = Authority::new("a CA");
        Self { layer: server(&authority).build().unwrap(), authority }
    }

    /// A client that is served by this.
    async fn client<F>(
        &self,
        version: &'static SupportedProtocolVersion,
        service: impl FnMut(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
    ) -> (Client<TcpStream>, JoinHandle<Result<(), BoxError>>)
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let (io, accepted) = tcp().await;
        let served = serve(self.layer.layer(service_fn(service)), accepted);
        (self.connect(version, io).await, served)
    }

    async fn connect<IO>(&self, version: &'static SupportedProtocolVersion, io: IO) -> Client<IO>
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        self.connect_as(version, None, io).await
    }

    async fn connect_as<IO>(
        &self,
        version: &'static SupportedProtocolVersion,
        pair: Option<&Pair>,
        io: IO,
    ) -> Client<IO>
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        connect(&Arc::new(client(&self.authority, version, pair)), io).await.unwrap()
    }
}

/// Everything that comes, and an orderly end.
async fn hears<IO>(client: &mut Client<IO>) -> Vec<u8>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    within(client.read_to_end(&mut bytes)).await.expect("no close_notify");
    bytes
}

/// Everything that comes, and an end that nobody vouches for.
async fn hears_it_cut_off<IO>(client: &mut Client<IO>) -> Vec<u8>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    let error = within(client.read_to_end(&mut bytes)).await.expect_err("an orderly end");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error:?}");
    bytes
}

#[tokio::test]
async fn a_service_that_is_done_need_not_shut_down() {
    let site = Site::new();
    for version in VERSIONS {
        for fails in [false, true] {
            let (mut client, served) = site
                .client(version, move |mut stream| async move {
                    // Not flushed either.
                    stream.write_all(b"all of it").await?;
                    if fails { Err("no more".into()) } else { Ok(()) }
                })
                .await;
            assert_eq!(hears(&mut client).await, b"all of it");
            assert_eq!(within(served).await.unwrap().is_err(), fails);
        }
    }
}

/// As the deadline of a drain does it.
#[tokio::test]
async fn a_connection_whose_future_is_dropped_ends_in_order() {
    let site = Site::new();
    for version in VERSIONS {
        let (mut client, served) = site
            .client(version, |mut stream| async move {
                stream.write_all(b"hello").await?;
                stream.read_u8().await?;
                Ok(())
            })
            .await;
        within(client.read_exact(&mut [0; 5])).await.unwrap();
        served.abort();
        assert_eq!(hears(&mut client).await, b"");
    }
}

#[tokio::test]
async fn a_client_that_is_let_in_no_more_is_told_so_in_order() {
    for version in VERSIONS {
        let (authority, files) = (Authority::new("a CA"), Files::new());
        let roots = ClientRoots::from_pem_file(files.write("ca.pem", &authority.pem));
        let builder = server(&authority).client_auth(ClientAuth::Required(roots)).end_revoked(true);
        let (layer, reloader) = builder.build_reloadable().unwrap();
        let site = Site { authority, layer };
        let (io, accepted) = tcp().await;
        let stack = site.layer.layer(service_fn(|mut stream: TlsStream<TcpStream>| async move {
            stream.write_all(b"hello").await?;
            stream.read_u8().await?;
            Ok::<(), BoxError>(())
        }));
        let served = serve(stack, accepted);
        let alice = site.authority.client();
        let mut client = site.connect_as(version, Some(&alice), io).await;
        within(client.read_exact(&mut [0; 5])).await.unwrap();
        files.write("ca.pem", Authority::new("another CA").pem);
        assert!(reloader.reload().unwrap().trust_changed);
        assert_eq!(hears(&mut client).await, b"");
        let error = within(served).await.unwrap().unwrap_err();
        assert!(error.is::<Revoked>(), "{error:?}");
    }
}

/// tokio would say that its socket takes nothing.
#[tokio::test]
async fn a_service_that_was_busy_until_the_end_is_no_exception() {
    let site = Site::new();
    for version in VERSIONS {
        let (mut client, served) = site
            .client(version, |stream| async move {
                poll_fn(|cx| {
                    while pin!(coop::consume_budget()).poll(cx).is_ready() {}
                    Poll::Ready(())
                })
                .await;
                assert!(!coop::has_budget_remaining());
                drop(stream);
                Ok(())
            })
            .await;
        assert_eq!(hears(&mut client).await, b"");
        within(served).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn nothing_is_waited_for_and_what_is_missing_is_not_vouched_for() {
    let site = Site::new();
    for version in VERSIONS {
        let (io, accepted) = duplex(40 * 1024);
        let (tell, mut told) = mpsc::unbounded_channel();
        let stack = site.layer.layer(service_fn(move |mut stream: TlsStream<DuplexStream>| {
            let tell = tell.clone();
            async move {
                let mut full = pin!(stream.write_all(&[b'x'; MUCH]));
                poll_fn(|cx| {
                    assert!(full.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                tell.send(())?;
                pending::<Result<(), BoxError>>().await
            }
        }));
        let served = serve(stack, accepted);
        let mut client = site.connect(version, io).await;
        within(told.recv()).await.unwrap();
        served.abort();
        assert!(within(served).await.unwrap_err().is_cancelled());
        let heard = hears_it_cut_off(&mut client).await;
        assert!(!heard.is_empty() && heard.len() < MUCH, "{} bytes", heard.len());
    }
}

#[tokio::test]
async fn a_service_that_panics_leaves_what_looks_cut_off() {
    let site = Site::new();
    for version in VERSIONS {
        let (mut client, served) = site
            .client(version, |mut stream| async move {
                stream.write_all(b"half of").await?;
                panic!("a test's panic");
            })
            .await;
        assert_eq!(hears_it_cut_off(&mut client).await, b"half of");
        assert!(within(served).await.unwrap_err().is_panic());
    }
}

/// As an operator does it, or the deadline of a drain; also where the service has moved the stream away.
#[tokio::test]
async fn a_connection_that_was_ended_below_ends_in_order() {
    let site = Site::new();
    for version in VERSIONS {
        for moves in [false, true] {
            let tracker = Tracker::new();
            let (elsewhere, mut moved) = mpsc::unbounded_channel();
            let inner = service_fn(move |mut stream: TlsStream<Tracked<TcpStream>>| {
                let elsewhere = elsewhere.clone();
                async move {
                    stream.write_all(b"hello").await?;
                    if moves {
                        elsewhere.send(stream).map_err(|_| "the test is gone")?;
                    } else {
                        stream.read_u8().await?;
                    }
                    Ok::<(), BoxError>(())
                }
            });
            let (io, accepted) = tcp().await;
            let served = serve(TrackLayer::new(tracker.clone()).layer(site.layer.layer(inner)), accepted);
            let mut client = site.connect(version, io).await;
            within(client.read_exact(&mut [0; 5])).await.unwrap();
            let elsewhere = if moves { moved.recv().await } else { None };
            assert_eq!(tracker.close_all(CloseReason::Killed), 1);
            if let Some(mut stream) = elsewhere {
                // It is over all the same.
                stream.read_u8().await.unwrap_err();
            }
            assert_eq!(hears(&mut client).await, b"");
            assert_eq!(within(served).await.unwrap().is_ok(), moves);
        }
    }
}

/// Where a runtime ends with its connections, its sockets take nothing any more; nothing else happens.
#[test]
fn the_end_of_the_runtime_is_no_panic() {
    let site = Site::new();
    for version in VERSIONS {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (kept, client) = runtime.block_on(async {
            let (keep, mut kept) = mpsc::unbounded_channel();
            let (io, accepted) = tcp().await;
            let stack = site.layer.layer(service_fn(move |stream: TlsStream<TcpStream>| {
                ready(keep.send(stream).map_err(|_| BoxError::from("the test is gone")))
            }));
            let served = serve(stack, accepted);
            let client = site.connect(version, io).await;
            within(served).await.unwrap().unwrap();
            (kept.recv().await.unwrap(), client)
        });
        runtime.shutdown_background();
        assert!(kept.tls().is_some());
        drop(kept);
        drop(client);
    }
}
