//! The bytes are counted while the connection lives, and the stream is the stream below it.

use std::{
    io::IoSlice,
    pin::pin,
    task::{Context, Waker},
};

use portcullis_layers::{Connection, LocalAddress, Peer, metrics::Metered};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{Recorded, serve, vectored::VectoredOnly, within};

const READ: &str = "connection_bytes_total,direction=read";
const WRITTEN: &str = "connection_bytes_total,direction=written";

async fn metered(recorded: &Recorded, buffer: usize) -> (Metered<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(buffer);
    let (send, mut receive) = mpsc::unbounded_channel();
    let served = serve(recorded, server, move |stream| {
        let sent = send.send(stream).map_err(|_| "the test is gone".into());
        async { sent }
    });
    within(served).await.unwrap().unwrap();
    (receive.recv().await.unwrap(), client)
}

#[tokio::test]
async fn totals_are_live_when_the_stream_waits() {
    let recorded = Recorded::new();
    let (mut stream, mut client) = metered(&recorded, 64).await;
    client.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut [0; 5]).await.unwrap();
    stream.write_all(b"hi!").await.unwrap();
    assert!(pin!(stream.read_u8()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!((recorded.get(READ), recorded.get(WRITTEN)), (5.0, 3.0));
}

#[tokio::test]
async fn totals_are_live_when_the_stream_never_waits() {
    let recorded = Recorded::new();
    let (mut stream, _client) = metered(&recorded, 1 << 20).await;
    for _ in 0..100 {
        stream.write_all(&[0; 1000]).await.unwrap();
    }
    let published = recorded.get(WRITTEN);
    assert!((64.0 * 1024.0..=100_000.0).contains(&published), "{published} of 100000");
    drop(stream);
    assert_eq!(recorded.get(WRITTEN), 100_000.0);
}

#[tokio::test]
async fn what_is_left_is_counted_at_the_end() {
    let recorded = Recorded::new();
    let (mut stream, _client) = metered(&recorded, 64).await;
    stream.write_all(b"four").await.unwrap();
    drop(stream);
    assert_eq!(recorded.get(WRITTEN), 4.0);

    let (mut stream, _client) = metered(&recorded, 64).await;
    stream.write_all(b"four").await.unwrap();
    let _given_back = stream.into_inner();
    assert_eq!(recorded.get(WRITTEN), 8.0);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn the_vectored_path_is_taken_and_counted() {
    let recorded = Recorded::new();
    let served = serve(&recorded, VectoredOnly::new(), |mut stream| async move {
        use tokio::io::AsyncWrite;
        assert!(stream.is_write_vectored());
        let written = stream.write_vectored(&[IoSlice::new(b"two "), IoSlice::new(b"parts")]).await?;
        assert_eq!(written, 9);
        Ok(())
    });
    within(served).await.unwrap().unwrap();
    assert_eq!(recorded.get(WRITTEN), 9.0);
}

#[tokio::test]
async fn half_of_a_connection_may_close_on_either_side() {
    let recorded = Recorded::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for server_first in [true, false] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let served = serve(&recorded, server, move |mut stream| async move {
            let mut read = Vec::new();
            if !server_first {
                stream.read_to_end(&mut read).await?;
            }
            stream.write_all(b"server").await?;
            stream.shutdown().await?;
            stream.read_to_end(&mut read).await?;
            assert_eq!(read, b"client");
            Ok(())
        });
        let mut read = Vec::new();
        if server_first {
            within(client.read_to_end(&mut read)).await.unwrap();
        }
        client.write_all(b"client").await.unwrap();
        client.shutdown().await.unwrap();
        within(client.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read, b"server");
        within(served).await.unwrap().unwrap();
    }
    assert_eq!((recorded.get(READ), recorded.get(WRITTEN)), (12.0, 12.0));
    recorded.assert_at_rest();
}

#[tokio::test]
async fn nothing_to_read_is_not_the_end() {
    let recorded = Recorded::new();
    let (mut stream, mut client) = metered(&recorded, 64).await;
    assert!(pin!(stream.read_u8()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    client.write_all(b"!").await.unwrap();
    assert_eq!(within(stream.read_u8()).await.unwrap(), b'!');
}

#[tokio::test]
async fn it_says_what_the_stream_below_says() {
    let recorded = Recorded::new();
    let (mut stream, _client) = metered(&recorded, 64).await;
    assert_eq!((stream.peer(), stream.local()), (Peer::Unknown, LocalAddress::Unknown));
    assert!(stream.tls().is_none() && !stream.drain().is_signaled());
    assert_eq!(stream.get_mut().peer(), stream.get_ref().peer());
    assert!(format!("{stream:?}").starts_with("Metered { io: DuplexStream"));
}
