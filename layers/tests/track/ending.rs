//! A connection is ended from outside: at once, once, and wherever its stream is.

use std::{
    future::{pending, poll_fn},
    io,
    pin::pin,
    task::{Context, Poll, Waker},
};

use portcullis_layers::{
    BoxError, CloseReason, Outcome,
    track::{Activity, TrackError, TrackLayer, Tracked, Tracker},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, Service, service_fn};

use crate::{meanwhile::Meanwhile, moved_away, moved_out, serve, until, within};

async fn read_for_ever<C: portcullis_layers::Connection>(mut stream: Tracked<C>) -> Result<(), BoxError> {
    stream.read_u8().await?;
    panic!("the client sends nothing");
}

fn reason_of(error: &(dyn std::error::Error + 'static)) -> Outcome {
    Outcome::of(Err(error))
}

fn is_aborted(error: &io::Error, reason: CloseReason) -> bool {
    error.kind() == io::ErrorKind::ConnectionAborted && reason_of(error) == Outcome::Closed(reason)
}

#[tokio::test]
async fn ending_by_id_wakes_a_blocked_read_and_the_client_sees_the_close() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();

    let tracker = Tracker::new();
    let served = serve(&tracker, server, read_for_ever);
    until(&tracker, Activity::Reading).await;
    assert!(tracker.close(tracker.connections()[0].id));

    let error = within(served).await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&TrackError::Closed(CloseReason::Killed)));
    assert_eq!(reason_of(&*error), Outcome::Closed(CloseReason::Killed));
    assert_eq!(within(client.read(&mut [0])).await.unwrap(), 0);
    within(tracker.wait_idle()).await;
}

#[tokio::test]
async fn a_service_that_waits_for_something_else_is_ended_as_well() {
    let tracker = Tracker::new();
    let (server, mut client) = duplex(1);
    let served = serve(&tracker, server, |stream| async move {
        let _stream = stream;
        pending().await
    });
    within(async {
        while tracker.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // It has been polled once and sleeps.
    tokio::task::yield_now().await;
    assert_eq!(tracker.close_all(CloseReason::DrainForced), 1);
    let error = within(served).await.unwrap().unwrap_err();
    assert_eq!(reason_of(&*error), Outcome::Closed(CloseReason::DrainForced));
    assert_eq!(within(client.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_that_is_ended_before_its_first_poll_is_never_served() {
    let tracker = Tracker::new();
    let mut service = TrackLayer::new(tracker.clone())
        .layer(service_fn(|_: Tracked<DuplexStream>| async { panic!("polled") as Result<(), BoxError> }));
    let (server, mut client) = duplex(1);
    let future = service.call(server);
    assert_eq!(tracker.close_all(CloseReason::Revoked), 1);
    let error = within(future).await.unwrap_err();
    assert_eq!(reason_of(&*error), Outcome::Closed(CloseReason::Revoked));
    assert_eq!(within(client.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn the_future_lets_go_of_the_stream_when_it_resolves() {
    let tracker = Tracker::new();
    let mut service = TrackLayer::new(tracker.clone()).layer(service_fn(read_for_ever::<DuplexStream>));
    let (server, mut client) = duplex(1);
    let mut future = pin!(service.call(server));
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    tracker.close_all(CloseReason::Killed);
    assert!(within(future.as_mut()).await.is_err());
    // Though the future itself is still here.
    assert_eq!(within(client.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_moved_away_reader_and_writer_are_both_woken() {
    let tracker = Tracker::new();
    let (stream, _client) = moved_away(&tracker, 1).await;
    let id = stream.id();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let reader = tokio::spawn(async move { reader.read_u8().await });
    // More than the buffer holds.
    let writer = tokio::spawn(async move { writer.write_all(b"blocked").await });
    until(&tracker, Activity::Writing).await;
    tokio::task::yield_now().await;

    assert!(tracker.close(id));
    assert!(is_aborted(&within(reader).await.unwrap().unwrap_err(), CloseReason::Killed));
    assert!(is_aborted(&within(writer).await.unwrap().unwrap_err(), CloseReason::Killed));
    within(tracker.wait_idle()).await;
}

#[tokio::test]
async fn an_ended_stream_is_of_no_use() {
    let tracker = Tracker::new();
    let (mut stream, mut client) = moved_away(&tracker, 64).await;
    client.write_all(b"too late").await.unwrap();
    assert_eq!(tracker.close_all(CloseReason::Killed), 1);

    let killed = CloseReason::Killed;
    assert!(is_aborted(&stream.read(&mut [0; 8]).await.unwrap_err(), killed));
    assert!(is_aborted(&stream.write(b"x").await.unwrap_err(), killed));
    assert!(is_aborted(&stream.write_vectored(&[io::IoSlice::new(b"x")]).await.unwrap_err(), killed));
    assert!(is_aborted(&stream.flush().await.unwrap_err(), killed));
    assert!(is_aborted(&stream.shutdown().await.unwrap_err(), killed));
    drop(stream);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "nothing came through");
}

#[tokio::test]
async fn the_first_reason_stands() {
    let tracker = Tracker::new();
    let (mut stream, _client) = moved_away(&tracker, 1).await;
    assert!(!tracker.close(stream.id() + 1), "there is no such connection");
    assert!(tracker.close(stream.id()));
    assert!(!tracker.close(stream.id()));
    assert_eq!(tracker.close_all(CloseReason::DrainForced), 0);
    assert!(is_aborted(&stream.read_u8().await.unwrap_err(), CloseReason::Killed));

    let id = stream.id();
    drop(stream);
    assert!(!tracker.close(id), "it is gone");
}

#[tokio::test]
async fn ending_all_spares_those_that_come_later() {
    let tracker = Tracker::new();
    let (_first, _client) = moved_away(&tracker, 1).await;
    assert_eq!(tracker.close_all(CloseReason::DrainForced), 1);
    let (mut second, mut client) = moved_away(&tracker, 1).await;
    client.write_all(b"!").await.unwrap();
    assert_eq!(within(second.read_u8()).await.unwrap(), b'!');
}

/// The race of `Entry::ended`: the end comes after the stream below said that it waits, and before anybody could be woken.
#[tokio::test]
async fn an_end_between_the_look_and_the_sleep_is_not_missed() {
    let tracker = Tracker::new();
    let ender = tracker.clone();
    let ends = move || _ = ender.close_all(CloseReason::Killed);
    let mut stream = moved_out(&tracker, Meanwhile::new(ends.clone())).await;
    assert!(is_aborted(&within(stream.read_u8()).await.unwrap_err(), CloseReason::Killed));
    let mut stream = moved_out(&tracker, Meanwhile::new(ends)).await;
    assert!(is_aborted(&within(stream.write_u8(1)).await.unwrap_err(), CloseReason::Killed));

    // The future itself: its service ends the connection and says that it waits.
    let ender = tracker.clone();
    let (server, _client) = duplex(1);
    let served = serve(&tracker, server, move |stream| async move {
        let _stream = stream;
        poll_fn(move |_| {
            ender.close_all(CloseReason::Killed);
            Poll::Pending
        })
        .await
    });
    assert!(within(served).await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_from_another_thread_are_never_missed() {
    let tracker = Tracker::new();
    for _ in 0..500 {
        let (server, _client) = duplex(1);
        let served = serve(&tracker, server, read_for_ever);
        let ender = tracker.clone();
        let end = tokio::task::spawn_blocking(move || while ender.close_all(CloseReason::Killed) == 0 {});
        assert!(within(served).await.unwrap().is_err());
        end.await.unwrap();
    }
    assert!(tracker.is_empty());
}
