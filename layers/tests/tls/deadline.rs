//! T3 and T4: slow clients.

use std::{sync::Arc, time::Duration};

use portcullis_layers::{
    BoxError,
    tls::{HandshakeCause, HandshakeError, HandshakeFailure, TlsStream, rustls::version::TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::Instant,
};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};

use crate::{
    certificates::Authority,
    ends::{VERSIONS, client, connect, refused, serve, server, tcp},
    hello::{Extensions, GCM, TLS_1_2, client_hello},
    streams::ByteByByte,
    within::within,
};

/// The deadline is absolute: it is not moved by what the client sends.
#[tokio::test(start_paused = true)]
async fn one_byte_a_second_ends_at_the_deadline() {
    let layer = server(&Authority::new("a CA")).build().unwrap();
    let (mut client, server) = duplex(1024);
    let started = Instant::now();
    let drip = async {
        for byte in client_hello(TLS_1_2, GCM, &Extensions::GroupsAndSignatures) {
            if client.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("the whole ClientHello was waited for");
    };
    let (error, ()) = tokio::join!(refused(&layer, server), drip);
    assert_eq!(error.failure(), HandshakeFailure::Timeout);
    assert!(
        matches!(error.cause(), HandshakeCause::Timeout { after, .. } if *after == Duration::from_secs(10))
    );
    // The client finds out with its next byte.
    assert_eq!(started.elapsed().as_secs(), 11);
}

#[tokio::test(start_paused = true)]
async fn silence_after_a_part_of_the_hello_ends_at_the_deadline_and_frees_its_slot() {
    let layer =
        server(&Authority::new("a CA")).handshake_timeout(Duration::from_millis(1500)).build().unwrap();
    let inner = service_fn(|_: TlsStream<DuplexStream>| async { Ok::<(), BoxError>(()) });
    let mut stack = layer.layer(ConcurrencyLimit::new(inner, 1));

    let (mut client, server) = duplex(1024);
    client.write_all(&client_hello(TLS_1_2, GCM, &Extensions::GroupsAndSignatures)[..20]).await.unwrap();
    let started = Instant::now();
    let call = stack.ready().await.unwrap().call(server);
    let error = call.await.expect_err("the handshake succeeded");
    assert_eq!(started.elapsed(), Duration::from_millis(1500));
    assert!(error.is::<HandshakeError>());
    within(stack.ready()).await.unwrap();
}

/// The client's alert is waited for no longer than the deadline allows.
#[tokio::test(start_paused = true)]
async fn a_refused_client_lingers_only_shortly() {
    let layer = server(&Authority::new("a CA")).build().unwrap();
    let (mut client, server) = duplex(1024);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let started = Instant::now();
    // The client stays and says nothing more.
    assert_eq!(refused(&layer, server).await.failure(), HandshakeFailure::NotTls);
    assert_eq!(started.elapsed(), Duration::from_secs(1));
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn lingering_does_not_outlast_the_deadline() {
    let layer =
        server(&Authority::new("a CA")).handshake_timeout(Duration::from_millis(300)).build().unwrap();
    let (mut client, server) = duplex(1024);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let started = Instant::now();
    assert_eq!(refused(&layer, server).await.failure(), HandshakeFailure::NotTls);
    assert_eq!(started.elapsed(), Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_with_the_handshake() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).handshake_timeout(Duration::from_secs(2)).build().unwrap();
    let (io, accepted) = duplex(16 * 1024);
    let served = serve(
        layer.layer(service_fn(|mut stream: TlsStream<DuplexStream>| async move {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            stream.write_all(b"late").await?;
            stream.shutdown().await?;
            Ok::<(), BoxError>(())
        })),
        accepted,
    );
    let mut client = connect(&Arc::new(client(&authority, &TLS13, None)), io).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"late");
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn dropping_the_future_ends_the_handshake() {
    let layer = server(&Authority::new("a CA")).build().unwrap();
    let stack = layer.layer(service_fn(|_: TlsStream<DuplexStream>| async { Ok::<(), BoxError>(()) }));
    let (mut client, server) = duplex(1024);
    let mut call = Box::pin(stack.oneshot(server));
    std::future::poll_fn(|cx| {
        assert!(call.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop(call);
    assert_eq!(within(client.read(&mut [0])).await.unwrap(), 0);
}

/// T4: also when every byte arrives by itself.
#[tokio::test]
async fn a_client_hello_split_per_byte_is_accepted() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).build().unwrap();
    for version in VERSIONS {
        let (io, accepted) = tcp().await;
        let stack = layer.layer(service_fn(|mut stream: TlsStream<ByteByByte>| async move {
            stream.write_all(b"hello").await?;
            stream.shutdown().await?;
            Ok::<(), BoxError>(())
        }));
        let served = serve(stack, ByteByByte::new(accepted));
        let mut client = connect(&Arc::new(client(&authority, version, None)), io).await.unwrap();
        let mut answer = Vec::new();
        within(client.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, b"hello");
        within(served).await.unwrap().unwrap();
    }
}
