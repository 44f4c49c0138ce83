//! Every connection is counted once, under the reason for which it ended.

use std::{
    future::{Future, pending, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Waker},
};

use portcullis_layers::{
    BoxError, CloseReason, Connection, RejectReason,
    metrics::Metered,
    track::{TrackLayer, Tracked, Tracker},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{Recorded, failing::Failing, serve, within};

const CLOSED: &str = "connections_closed_total,reason=";
const REJECTED: &str = "connections_rejected_total,reason=";

fn closed(recorded: &Recorded, reason: &str) -> f64 {
    recorded.get(&format!("{CLOSED}{reason}"))
}

async fn discard<C: Connection>(mut stream: C) -> Result<(), BoxError> {
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_success_is_completed_or_the_clients_eof() {
    let recorded = Recorded::new();
    let (server, _client) = duplex(8);
    within(serve(&recorded, server, |_| async { Ok(()) })).await.unwrap().unwrap();
    assert_eq!(closed(&recorded, "completed"), 1.0);

    let (server, client) = duplex(8);
    drop(client);
    within(serve(&recorded, server, discard)).await.unwrap().unwrap();
    assert_eq!(closed(&recorded, "client_eof"), 1.0);

    // A read of nothing is not the end.
    let (server, _client) = duplex(8);
    let empty_read = serve(&recorded, server, |mut stream| async move {
        assert_eq!(stream.read(&mut []).await?, 0);
        Ok(())
    });
    within(empty_read).await.unwrap().unwrap();
    assert_eq!(closed(&recorded, "completed"), 2.0);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let recorded = Recorded::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    let error = within(serve(&recorded, server, discard)).await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<io::Error>().unwrap().raw_os_error(), Some(104), "passed on unchanged");
    assert_eq!(closed(&recorded, "reset"), 1.0);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn an_error_is_counted_by_what_it_says() {
    let recorded = Recorded::new();
    let errors: [(BoxError, &str, &str); 7] = [
        (BoxError::from("a bug"), CLOSED, "service"),
        (CloseReason::Idle.into(), CLOSED, "idle"),
        (RejectReason::Rate.into(), REJECTED, "rate"),
        // The stream saw nothing of the kind: it is of a file, or of an upstream.
        (io::Error::from_raw_os_error(5).into(), CLOSED, "service"),
        (io::Error::from(io::ErrorKind::ConnectionRefused).into(), CLOSED, "service"),
        (io::Error::from(io::ErrorKind::ConnectionReset).into(), CLOSED, "service"),
        (io::Error::from(io::ErrorKind::UnexpectedEof).into(), CLOSED, "service"),
    ];
    let mut counted = std::collections::BTreeMap::new();
    for (error, series, reason) in errors {
        let (server, _client) = duplex(8);
        let mut error = Some(error);
        let leaf = service_fn(move |_: Metered<DuplexStream>| ready(Err::<(), _>(error.take().unwrap())));
        let future = recorded.layer().layer(leaf).call(server);
        assert!(within(future).await.is_err());
        *counted.entry(reason).or_insert(0.0) += 1.0;
        assert_eq!(recorded.get(&format!("{series}{reason}")), counted[reason], "{reason}");
    }
    recorded.assert_at_rest();
}

/// Whatever the error says, it is the stream's.
#[tokio::test]
async fn an_error_of_the_stream_is_not_the_services() {
    let recorded = Recorded::new();
    type Made = fn() -> io::Error;
    let errors: [(Made, &str); 3] = [
        (|| io::Error::from_raw_os_error(5), "io"),
        (|| io::ErrorKind::BrokenPipe.into(), "reset"),
        (|| io::Error::new(io::ErrorKind::ConnectionAborted, CloseReason::Idle), "idle"),
    ];
    for (error, reason) in errors {
        assert!(within(serve(&recorded, Failing::new(error), discard)).await.unwrap().is_err());
        assert_eq!(closed(&recorded, reason), 1.0, "{reason}");
    }

    // It wanted four bytes, and the client left after one.
    let (server, mut client) = duplex(8);
    client.write_u8(1).await.unwrap();
    drop(client);
    let served = serve(&recorded, server, |mut stream| async move {
        stream.read_u32().await?;
        Ok(())
    });
    assert!(within(served).await.unwrap().is_err());
    assert_eq!(closed(&recorded, "client_eof"), 1.0);

    // Nobody here can see what happens to a stream that was given back.
    let (server, _client) = duplex(8);
    let served = serve(&recorded, server, |stream| async move {
        let _given_back = stream.into_inner();
        Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
    });
    assert!(within(served).await.unwrap().is_err());
    assert_eq!(closed(&recorded, "reset"), 2.0);
    recorded.assert_at_rest();
}

/// The stream is served by another task, and fails there, before or after the future resolves: with success, as it knows
/// of nothing.
#[tokio::test]
async fn a_failure_elsewhere_is_not_lost_in_the_futures_success() {
    let recorded = Recorded::new();
    let served =
        serve(&recorded, Failing::new(|| io::ErrorKind::ConnectionReset.into()), |mut stream| async move {
            tokio::spawn(async move { stream.read_u8().await }).await?.unwrap_err();
            Ok(())
        });
    within(served).await.unwrap().unwrap();
    assert_eq!(closed(&recorded, "reset"), 1.0);

    // And it may fail without a word that anybody knows.
    let served = serve(&recorded, Failing::new(|| io::Error::other("broken")), |mut stream| async move {
        tokio::spawn(async move { stream.read_u8().await }).await?.unwrap_err();
        Ok(())
    });
    within(served).await.unwrap().unwrap();
    assert_eq!(closed(&recorded, "io"), 1.0);

    // One that takes nothing any more is broken as well.
    let served = serve(&recorded, Failing::new(|| io::Error::other("unused")), |mut stream| async move {
        assert_eq!(stream.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::WriteZero);
        Ok(stream.write_all(b"x").await?)
    });
    assert!(within(served).await.unwrap().is_err());
    assert_eq!(closed(&recorded, "io"), 2.0);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn a_panic_is_the_service_and_is_counted_once() {
    let recorded = Recorded::new();
    let (server, _client) = duplex(8);
    let served = serve(&recorded, server, |stream| async move {
        let _stream = stream;
        tokio::task::yield_now().await;
        panic!("on purpose")
    });
    assert!(within(served).await.unwrap_err().is_panic());
    assert_eq!(closed(&recorded, "service"), 1.0);

    // A future that was caught in a panic and is kept: dropping it later changes nothing.
    let (server, _client) = duplex(8);
    let mut service = recorded
        .layer()
        .layer(service_fn(|_: Metered<DuplexStream>| async { panic!("on purpose") as Result<(), BoxError> }));
    let mut future = Box::pin(service.call(server));
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(future.as_mut()))).is_err());
    drop(future);
    assert_eq!(closed(&recorded, "service"), 2.0);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn a_panic_in_call_is_the_service() {
    let recorded = Recorded::new();
    let (server, _client) = duplex(8);
    let mut service = recorded.layer().layer(service_fn(
        |_: Metered<DuplexStream>| -> std::future::Ready<Result<(), BoxError>> { panic!("on purpose") },
    ));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(service.call(server)))).is_err());
    assert_eq!(closed(&recorded, "service"), 1.0);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn a_future_that_is_dropped_was_killed() {
    let recorded = Recorded::new();
    let mut service = recorded.layer().layer(service_fn(discard::<Metered<DuplexStream>>));
    let (server, _client) = duplex(8);
    drop(service.call(server));
    assert_eq!(closed(&recorded, "killed"), 1.0, "before its first poll");

    let (server, _client) = duplex(8);
    {
        let mut future = pin!(service.call(server));
        assert!(poll_once(future.as_mut()).is_pending());
        assert_eq!(recorded.get("connections_active"), 1.0);
    }
    assert_eq!(closed(&recorded, "killed"), 2.0, "and after");
    recorded.assert_at_rest();
}

#[tokio::test]
async fn a_future_that_is_dropped_in_a_drain_was_forced() {
    let (recorded, tracker) = (Recorded::new(), Tracker::new());
    let mut service = ServiceBuilder::new()
        .layer(TrackLayer::new(tracker.clone()))
        .layer(recorded.layer())
        .service(service_fn(discard::<Metered<Tracked<DuplexStream>>>));
    let (server, _client) = duplex(8);
    let future = service.call(server);
    tracker.start_drain();
    drop(future);
    assert_eq!(closed(&recorded, "drain_forced"), 1.0);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn what_the_registry_ends_has_its_reason() {
    let (recorded, tracker) = (Recorded::new(), Tracker::new());
    let service = ServiceBuilder::new()
        .layer(recorded.layer())
        .layer(TrackLayer::new(tracker.clone()))
        .service(service_fn(discard::<Tracked<Metered<DuplexStream>>>));
    for reason in [CloseReason::DrainForced, CloseReason::Revoked, CloseReason::Killed] {
        let (server, _client) = duplex(8);
        let mut future = pin!(service.clone().oneshot(server));
        assert!(poll_once(future.as_mut()).is_pending());
        assert_eq!(tracker.close_all(reason), 1);
        assert!(within(future).await.is_err());
        assert_eq!(closed(&recorded, reason.as_str()), 1.0);
    }
    recorded.assert_at_rest();
}

#[tokio::test]
async fn a_stream_that_was_moved_away_is_active_until_it_is_dropped() {
    let recorded = Recorded::new();
    let (send, mut receive) = mpsc::unbounded_channel::<Metered<TcpStream>>();
    let upgrade = move |stream: Metered<TcpStream>| {
        send.send(stream).unwrap();
        async { Ok(()) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (reset, reason) in [(false, "client_eof"), (true, "reset")] {
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        within(serve(&recorded, server, upgrade.clone())).await.unwrap().unwrap();
        let mut stream = receive.recv().await.unwrap();
        assert_eq!(recorded.get("connections_active"), 1.0);
        assert_eq!(closed(&recorded, reason), 0.0);

        if reset {
            client.set_zero_linger().unwrap();
        }
        drop(client);
        assert!(within(stream.read_u8()).await.is_err());
        drop(stream);
        assert_eq!(closed(&recorded, reason), 1.0);
    }
    recorded.assert_at_rest();
}

/// The stream is above the registry's, which is above the one that counts: what ends it comes from above.
#[tokio::test]
async fn a_stream_that_was_moved_away_and_ended_has_its_reason() {
    let (recorded, tracker) = (Recorded::new(), Tracker::new());
    let (send, mut receive) = mpsc::unbounded_channel();
    let service = ServiceBuilder::new()
        .layer(recorded.layer())
        .layer(TrackLayer::new(tracker.clone()))
        .service(service_fn(move |stream: Tracked<Metered<DuplexStream>>| {
            ready(send.send(stream).map_err(|_| BoxError::from("the test is gone")))
        }));
    for (index, reason) in [CloseReason::DrainForced, CloseReason::Revoked].into_iter().enumerate() {
        let (server, _client) = duplex(8);
        within(service.clone().oneshot(server)).await.unwrap();
        let mut stream = receive.recv().await.unwrap();
        assert_eq!(tracker.close_all(reason), 1);
        assert!(within(stream.read_u8()).await.is_err());
        drop(stream);
        assert_eq!(closed(&recorded, reason.as_str()), 1.0);
        assert_eq!(recorded.sum("connections_closed_total"), (index + 1) as f64);
    }
    recorded.assert_at_rest();
}

#[tokio::test]
async fn everything_adds_up_after_endings_of_every_kind() {
    let recorded = Recorded::new();
    let (leaf_sends, mut receive) = mpsc::unbounded_channel();
    let leaf = move |mut stream: Metered<DuplexStream>| {
        let moved = leaf_sends.clone();
        async move {
            match stream.read_u8().await? {
                b'o' => Ok(()),
                b'd' => discard(stream).await,
                b'e' => Err(BoxError::from("an error")),
                b'r' => Err(RejectReason::LimitPeer.into()),
                b'i' => Err(CloseReason::Reset.into()),
                b'm' => moved.send(stream).map_err(|_| BoxError::from("the test is gone")),
                b'p' => panic!("on purpose"),
                _ => pending().await,
            }
        }
    };
    let mut clients = Vec::new();
    for round in 0..50 {
        for what in b"oderimpx" {
            let (server, mut client) = duplex(8);
            let served = serve(&recorded, server, leaf.clone());
            client.write_u8(*what).await.unwrap();
            match what {
                b'd' => drop(client),
                b'x' => {
                    tokio::task::yield_now().await;
                    served.abort();
                }
                _ if round % 2 == 0 => clients.push(client),
                _ => {}
            }
            let _ = within(served).await;
        }
    }
    assert_eq!(recorded.get("connections_active"), 50.0, "those that were moved away");
    while let Ok(stream) = receive.try_recv() {
        drop(stream);
    }
    recorded.assert_at_rest();
    assert_eq!(recorded.get("connections_accepted_total"), 400.0);
    for (series, count) in [
        ("connections_closed_total,reason=completed", 100.0),
        ("connections_closed_total,reason=client_eof", 50.0),
        ("connections_closed_total,reason=service", 100.0),
        ("connections_closed_total,reason=reset", 50.0),
        ("connections_closed_total,reason=killed", 50.0),
        ("connections_rejected_total,reason=limit_peer", 50.0),
    ] {
        assert_eq!(recorded.get(series), count, "{series}");
    }
}
