//! The stream above TLS: T10, both half-closes, vectored writes.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use portcullis_layers::{
    BoxError, CloseReason, Connection, Outcome,
    tls::{TlsStream, rustls::version::TLS13},
    track::{TrackLayer, Tracked, Tracker},
};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};
use tower::{Layer, service_fn};

use crate::{
    certificates::Authority,
    ends::{VERSIONS, client, connect, serve, server, tcp},
    session::{Noted, Notes},
    streams::VectoredOnly,
    within::within,
};

/// More than all the buffers in between hold.
const MUCH: usize = 8 * 1024 * 1024;

#[tokio::test]
async fn a_fin_without_close_notify_is_tls_truncated() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    for version in VERSIONS {
        let (io, accepted) = tcp().await;
        let stack = layer.layer(service_fn(|mut stream: TlsStream<TcpStream>| async move {
            // All that came before is delivered, and it is the end that fails, each time one looks.
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).await?;
            assert_eq!(&bytes, b"hello");
            let error = stream.read(&mut bytes).await.expect_err("an end that nobody vouches for");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            let error = stream.read(&mut bytes).await.expect_err("the second time it looked good");
            Err::<(), BoxError>(error.into())
        }));
        let served = serve(stack, accepted);
        let mut stream = connect(&Arc::new(client(&authority, version, None)), io).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        stream.get_mut().0.shutdown().await.unwrap();
        let error = within(served).await.unwrap().unwrap_err();
        assert_eq!(Outcome::of(Err(&*error)), Outcome::Closed(CloseReason::TlsTruncated));
    }
}

/// tokio-rustls takes it for the end from the second time on.
#[tokio::test]
async fn a_connection_that_was_ended_below_never_looks_like_the_end() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    for version in VERSIONS {
        let (tracker, notes) = (Tracker::new(), Notes::default());
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        let stack = TrackLayer::new(tracker.clone()).layer(layer.layer(service_fn(
            move |stream: TlsStream<Tracked<Noted>>| {
                std::future::ready(send.send(stream).map_err(|_| BoxError::from("the test is gone")))
            },
        )));
        let (io, accepted) = tcp().await;
        let served = serve(stack, Noted::new(accepted, &notes));
        let _client = connect(&Arc::new(client(&authority, version, None)), io).await.unwrap();
        within(served).await.unwrap().unwrap();
        let mut stream = receive.recv().await.unwrap();
        assert_eq!(tracker.close_all(CloseReason::Killed), 1);
        for _ in 0..3 {
            let error = within(stream.read(&mut [0; 8])).await.expect_err("an end that was never sent");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            assert_eq!(Outcome::of(Err(&error)), Outcome::Closed(CloseReason::Killed));
        }
        let notes = notes.lock().unwrap();
        assert!(notes.contains(&"Ended(Killed)".to_owned()), "{notes:?}");
        assert!(!notes.contains(&"PeerDone".to_owned()), "{notes:?}");
    }
}

/// The data and the FIN may come with one read.
#[tokio::test]
async fn what_came_before_a_truncation_is_delivered_first() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    for version in VERSIONS {
        let (io, accepted) = tcp().await;
        let go = Arc::new(Notify::new());
        let wait = Arc::clone(&go);
        let stack = layer.layer(service_fn(move |mut stream: TlsStream<TcpStream>| {
            let wait = Arc::clone(&wait);
            async move {
                wait.notified().await;
                let mut bytes = Vec::new();
                let error = stream.read_to_end(&mut bytes).await.expect_err("it looked whole");
                assert_eq!(bytes.len(), 40_000);
                Err::<(), BoxError>(error.into())
            }
        }));
        let served = serve(stack, accepted);
        let mut stream = connect(&Arc::new(client(&authority, version, None)), io).await.unwrap();
        stream.write_all(&[b'x'; 40_000]).await.unwrap();
        stream.flush().await.unwrap();
        stream.get_mut().0.shutdown().await.unwrap();
        go.notify_one();
        let error = within(served).await.unwrap().unwrap_err();
        assert_eq!(Outcome::of(Err(&*error)), Outcome::Closed(CloseReason::TlsTruncated));
    }
}

#[tokio::test]
async fn after_the_clients_close_notify_the_rest_is_delivered() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    for version in VERSIONS {
        let (io, accepted) = tcp().await;
        let stack = layer.layer(service_fn(|mut stream: TlsStream<TcpStream>| async move {
            assert_eq!(stream.read(&mut [0; 16]).await?, 0, "close_notify is a good end");
            stream.write_all(&vec![b'x'; MUCH]).await?;
            assert_eq!(stream.read(&mut [0; 16]).await?, 0, "and stays one");
            stream.shutdown().await?;
            Ok::<(), BoxError>(())
        }));
        let served = serve(stack, accepted);
        let mut stream = connect(&Arc::new(client(&authority, version, None)), io).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer.len(), MUCH);
        within(served).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn after_our_close_notify_the_client_is_still_heard() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    for version in VERSIONS {
        let (io, accepted) = tcp().await;
        let stack = layer.layer(service_fn(|mut stream: TlsStream<TcpStream>| async move {
            stream.shutdown().await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await?;
            assert_eq!(bytes.len(), MUCH);
            Ok::<(), BoxError>(())
        }));
        let served = serve(stack, accepted);
        let mut stream = connect(&Arc::new(client(&authority, version, None)), io).await.unwrap();
        assert_eq!(within(stream.read(&mut [0; 16])).await.unwrap(), 0);
        within(stream.write_all(&vec![b'x'; MUCH])).await.unwrap();
        stream.shutdown().await.unwrap();
        within(served).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn writes_are_vectored_all_the_way_down() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    for version in VERSIONS {
        let (io, accepted) = tcp().await;
        let stack = layer.layer(service_fn(|mut stream: TlsStream<VectoredOnly>| async move {
            assert!(stream.is_write_vectored());
            let written = stream.write_vectored(&[IoSlice::new(b"two "), IoSlice::new(b"pieces")]).await?;
            assert_eq!(written, 10, "only the first buffer was taken");
            stream.write_all(&vec![b'x'; MUCH]).await?;
            stream.shutdown().await?;
            Ok::<(), BoxError>(())
        }));
        let served = serve(stack, VectoredOnly::new(accepted));
        let mut stream = connect(&Arc::new(client(&authority, version, None)), io).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.starts_with(b"two pieces"));
        assert_eq!(answer.len(), 10 + MUCH);
        within(served).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_stream_below_can_be_had_back() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    let (io, accepted) = tcp().await;
    let address = accepted.peer_addr().unwrap();
    let stack = layer.layer(service_fn(move |mut stream: TlsStream<TcpStream>| async move {
        assert_eq!(stream.get_ref().peer_addr()?, address);
        assert_eq!(stream.get_mut().peer_addr()?, address);
        let mut below: TcpStream = stream.into_inner();
        assert!(below.tls().is_none());
        below.write_all(b"not a record").await?;
        Ok::<(), BoxError>(())
    }));
    let served = serve(stack, accepted);
    let mut stream = connect(&Arc::new(client(&authority, &TLS13, None)), io).await.unwrap();
    within(stream.read(&mut [0; 16])).await.expect_err("it was TLS still");
    within(served).await.unwrap().unwrap();
}

/// The layers above move it, and hold it in their futures.
#[test]
fn the_stream_is_one_pointer() {
    assert_eq!(size_of::<TlsStream<TcpStream>>(), size_of::<usize>());
}
