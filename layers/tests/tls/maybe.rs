//! TLS or plain by configuration, as one type.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use portcullis_layers::{
    BoxError, Connection,
    tls::{
        HandshakeError, HandshakeFailure, MaybeTlsLayer, MaybeTlsStream, TlsLayer, rustls::version::TLS13,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::either::Either;
use tower::{Layer, service_fn};

use crate::{
    certificates::Authority,
    ends::{client, connect, serve, server, tcp},
    streams::VectoredOnly,
    within::within,
};

/// Says whether it sees TLS, then echoes.
async fn echo(mut stream: MaybeTlsStream<TcpStream>) -> Result<(), BoxError> {
    let below = match &stream {
        Either::Left(tls) => tls.get_ref(),
        Either::Right(plain) => plain,
    };
    assert_eq!((stream.peer(), stream.local()), (below.peer(), below.local()));
    let version = stream.tls().map_or("plain", |tls| tls.version.as_str());
    stream.write_all(version.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn talk(mut stream: impl tokio::io::AsyncRead + AsyncWrite + Unpin) -> io::Result<String> {
    stream.write_all(b" hello").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await?;
    Ok(answer)
}

#[tokio::test]
async fn without_a_certificate_it_is_plain() {
    let layer = MaybeTlsLayer::from(None::<TlsLayer>);
    let (client, accepted) = tcp().await;
    let served = serve(layer.layer(service_fn(echo)), accepted);
    assert_eq!(talk(client).await.unwrap(), "plain hello");
    within(served).await.unwrap().unwrap();
}

#[tokio::test]
async fn with_a_certificate_it_is_tls() {
    let authority = Authority::new("a CA");
    let layer = MaybeTlsLayer::from(Some(server(&authority).build().unwrap()));
    let (io, accepted) = tcp().await;
    let served = serve(layer.layer(service_fn(echo)), accepted);
    let stream = connect(&Arc::new(client(&authority, &TLS13, None)), io).await.unwrap();
    assert_eq!(talk(stream).await.unwrap(), "TLSv1.3 hello");
    within(served).await.unwrap().unwrap();
}

/// It does not look at what the client sends: nobody gets past TLS by not speaking it.
#[tokio::test]
async fn with_a_certificate_a_plain_client_is_refused() {
    let layer = MaybeTlsLayer::from(server(&Authority::new("a CA")).build().unwrap());
    let (client, accepted) = tcp().await;
    let served = serve(layer.layer(service_fn(echo)), accepted);
    let answer = talk(client).await.unwrap();
    assert_eq!(answer.as_bytes()[0], 21, "not an alert: {answer:?}");
    assert!(!answer.contains("hello"), "{answer:?}");
    let error = within(served).await.unwrap().unwrap_err();
    assert_eq!(error.downcast::<HandshakeError>().unwrap().failure(), HandshakeFailure::NotTls);
}

#[tokio::test]
async fn both_ways_writes_are_vectored_all_the_way_down() {
    let authority = Authority::new("a CA");
    for tls in [None, Some(server(&authority).build().unwrap())] {
        let over_tls = tls.is_some();
        let (io, accepted) = tcp().await;
        let stack = MaybeTlsLayer::from(tls).layer(service_fn(
            |mut stream: MaybeTlsStream<VectoredOnly>| async move {
                assert!(stream.is_write_vectored());
                assert_eq!(stream.write_vectored(&[IoSlice::new(b"a"), IoSlice::new(b"b")]).await?, 2);
                stream.shutdown().await?;
                let _: VectoredOnly = match stream {
                    Either::Left(tls) => tls.into_inner(),
                    Either::Right(plain) => plain,
                };
                Ok::<(), BoxError>(())
            },
        ));
        let served = serve(stack, VectoredOnly::new(accepted));
        let mut answer = Vec::new();
        if over_tls {
            let mut stream = connect(&Arc::new(client(&authority, &TLS13, None)), io).await.unwrap();
            within(stream.read_to_end(&mut answer)).await.unwrap();
        } else {
            let mut stream = io;
            within(stream.read_to_end(&mut answer)).await.unwrap();
        }
        assert_eq!(answer, b"ab");
        within(served).await.unwrap().unwrap();
    }
}
