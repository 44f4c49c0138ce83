//! A tracked stream is the stream below it.

use std::{
    io::IoSlice,
    pin::pin,
    task::{Context, Waker},
};

use portcullis_layers::{Connection, LocalAddress, Peer, track::Tracker};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{moved_away, serve, vectored::VectoredOnly, within};

#[tokio::test]
async fn the_vectored_path_is_taken_and_counted() {
    let tracker = Tracker::new();
    let watcher = tracker.clone();
    let served = serve(&tracker, VectoredOnly::new(), move |mut stream| async move {
        assert!(stream.is_write_vectored());
        let written = stream.write_vectored(&[IoSlice::new(b"two "), IoSlice::new(b"parts")]).await?;
        assert_eq!(written, 9);
        assert_eq!(watcher.connections()[0].bytes_written, 9);
        Ok(())
    });
    within(served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_is_not_vectored_does_not_claim_to_be() {
    let tracker = Tracker::new();
    let (stream, _client) = moved_away(&tracker, 1).await;
    assert_eq!(stream.is_write_vectored(), stream.get_ref().is_write_vectored());
}

#[tokio::test]
async fn the_client_may_be_done_before_the_answer() {
    let tracker = Tracker::new();
    let (mut stream, client) = moved_away(&tracker, 64).await;
    let (mut reader, mut writer) = tokio::io::split(client);
    writer.write_all(b"question").await.unwrap();
    writer.shutdown().await.unwrap();

    let mut question = Vec::new();
    within(stream.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    stream.write_all(b"answer").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    within(reader.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"answer");
}

#[tokio::test]
async fn the_server_may_be_done_before_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let tracker = Tracker::new();
    let served = serve(&tracker, server, |mut stream| async move {
        stream.write_all(b"banner").await?;
        stream.shutdown().await?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        assert_eq!(rest, b"and the rest");
        Ok(())
    });
    let mut banner = Vec::new();
    within(client.read_to_end(&mut banner)).await.unwrap();
    assert_eq!(banner, b"banner");
    assert_eq!(tracker.len(), 1, "half a connection is open");
    client.write_all(b"and the rest").await.unwrap();
    client.shutdown().await.unwrap();
    within(served).await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_to_read_is_not_the_end() {
    let tracker = Tracker::new();
    let (mut stream, mut client) = moved_away(&tracker, 64).await;
    assert!(pin!(stream.read_u8()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    client.write_all(b"!").await.unwrap();
    assert_eq!(within(stream.read_u8()).await.unwrap(), b'!');
    assert_eq!(within(stream.read(&mut [])).await.unwrap(), 0, "asked for nothing");
    client.write_all(b"?").await.unwrap();
    assert_eq!(within(stream.read_u8()).await.unwrap(), b'?');
}

#[tokio::test]
async fn it_says_what_the_stream_below_says() {
    let tracker = Tracker::new();
    let (mut stream, _client) = moved_away(&tracker, 64).await;
    assert_eq!((stream.peer(), stream.local()), (Peer::Unknown, LocalAddress::Unknown));
    assert!(stream.tls().is_none());
    assert_eq!(stream.get_mut().peer(), Peer::Unknown);
    assert!(format!("{stream:?}").starts_with("Tracked { io: DuplexStream"));

    let _inner = stream.into_inner();
    assert!(tracker.is_empty(), "given back, it is no longer tracked");
}
