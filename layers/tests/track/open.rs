//! Which connections are open, what is known of them, and when none is.

use std::{
    future::pending,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use portcullis_layers::{
    BoxError, Connection, ConnectionEvent, Peer,
    track::{Activity, TrackLayer, Tracked, Tracker},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, Service, service_fn};

use crate::{moved_away, serve, until, within};

#[tokio::test]
async fn a_connection_is_open_from_the_call() {
    let tracker = Tracker::new();
    let mut service = TrackLayer::new(tracker.clone())
        .layer(service_fn(|_: Tracked<DuplexStream>| pending::<Result<(), BoxError>>()));
    let (server, _client) = duplex(1);
    let future = service.call(server);
    assert_eq!(tracker.len(), 1, "though nobody has polled it");
    drop(future);
    assert!(tracker.is_empty());
}

#[tokio::test]
async fn none_open_waits_for_a_stream_that_was_moved_away() {
    let tracker = Tracker::new();
    let (stream, mut client) = moved_away(&tracker, 1).await;
    let mut none_open = pin!(tracker.wait_idle());
    assert!(none_open.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(stream);
    within(none_open).await;
    assert_eq!(within(client.read(&mut [0])).await.unwrap(), 0, "and by then it is closed");
}

#[tokio::test]
async fn none_open_waits_for_a_future_that_outlives_its_stream() {
    let tracker = Tracker::new();
    let (server, _client) = duplex(1);
    let served = serve(&tracker, server, |stream| {
        drop(stream);
        pending()
    });
    within(async {
        while tracker.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut none_open = pin!(tracker.wait_idle());
    assert!(none_open.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    served.abort();
    within(none_open).await;
}

#[tokio::test]
async fn none_open_is_at_once_where_none_is() {
    within(Tracker::new().wait_idle()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_close_is_never_missed() {
    let tracker = Tracker::new();
    for _ in 0..500 {
        let (stream, _client) = moved_away(&tracker, 1).await;
        let close = tokio::task::spawn_blocking(move || drop(stream));
        within(tracker.wait_idle()).await;
        close.await.unwrap();
    }
}

#[tokio::test]
async fn ten_thousand_connections_leave_nothing_behind() {
    let tracker = Tracker::new();
    let mut ids = Vec::new();
    for _ in 0..100 {
        let connections: Vec<_> = (0..100)
            .map(|_| {
                let (server, client) = duplex(16);
                let served = serve(&tracker, server, |mut stream| async move {
                    let byte = stream.read_u8().await?;
                    Ok(stream.write_u8(byte).await?)
                });
                (served, client)
            })
            .collect();
        for (served, mut client) in connections {
            client.write_u8(7).await.unwrap();
            until_listed(&tracker, &mut ids);
            assert_eq!(within(client.read_u8()).await.unwrap(), 7);
            within(served).await.unwrap().unwrap();
        }
    }
    assert_eq!((tracker.len(), tracker.connections().len()), (0, 0));
    within(tracker.wait_idle()).await;
    assert!(ids.is_sorted_by(|a, b| a < b), "ids rise and are never used again");
}

fn until_listed(tracker: &Tracker, ids: &mut Vec<u64>) {
    let last = ids.last().copied().unwrap_or(0);
    ids.extend(tracker.connections().iter().map(|connection| connection.id).filter(|id| *id > last));
}

#[tokio::test]
async fn a_panic_leaves_nothing_behind() {
    let tracker = Tracker::new();
    let (server, _client) = duplex(1);
    let served = serve(&tracker, server, |stream| async move {
        let _stream = stream;
        panic!("on purpose")
    });
    assert!(within(served).await.unwrap_err().is_panic());
    assert!(tracker.is_empty());
}

#[tokio::test]
async fn the_list_says_who_since_when_and_how_much() {
    let tracker = Tracker::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    let service = TrackLayer::new(tracker.clone()).listener("echo").layer(service_fn(
        |mut stream: Tracked<TcpStream>| async move {
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).await?;
            stream.write_all(b"hi!").await?;
            stream.read_u8().await?;
            Ok::<_, BoxError>(())
        },
    ));
    let before = std::time::SystemTime::now();
    let _served = tokio::spawn(tower::ServiceExt::oneshot(service, server));
    client.write_all(b"hello").await.unwrap();
    within(client.read_exact(&mut [0; 3])).await.unwrap();
    until(&tracker, Activity::Reading).await;

    let (second, _client) = moved_away(&tracker, 1).await;
    let list = tracker.connections();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0].listener.as_deref(), Some("echo"));
    assert_eq!(list[0].peer, Peer::Ip(peer));
    assert_eq!((list[0].bytes_read, list[0].bytes_written), (5, 3));
    assert!(list[0].since >= before && list[0].since <= std::time::SystemTime::now());
    assert!(list[0].age > Duration::ZERO && list[0].age >= list[1].age, "the oldest is first");
    assert!(list[1].id > list[0].id);
    assert_eq!(list[1].id, second.id());
    assert_eq!(list[1].listener, None);
    assert_eq!(second.listener(), None);
}

#[tokio::test]
async fn the_list_says_what_a_connection_is_doing() {
    let tracker = Tracker::new();
    let (mut stream, mut client) = moved_away(&tracker, 4).await;
    let activity = || tracker.connections()[0].activity;
    let noop = &mut Context::from_waker(Waker::noop());
    assert_eq!(activity(), Activity::Working);

    stream.on_event(&ConnectionEvent::HandshakeStarted);
    assert!(pin!(stream.read_u8()).poll(noop).is_pending());
    assert_eq!(activity(), Activity::Handshaking, "through every read of the handshake");
    drop(stream);

    let (mut stream, mut other) = moved_away(&tracker, 4).await;
    assert!(pin!(stream.read_u8()).poll(noop).is_pending());
    assert_eq!(activity(), Activity::Reading);
    other.write_u8(1).await.unwrap();
    stream.read_u8().await.unwrap();
    assert_eq!(activity(), Activity::Working);

    assert!(pin!(stream.write_all(b"too much for it")).poll(noop).is_pending());
    assert_eq!(activity(), Activity::Writing);
    other.read_exact(&mut [0; 4]).await.unwrap();
    stream.write_all(b"fits").await.unwrap();
    assert_eq!(activity(), Activity::Working);
    assert_eq!(Activity::Writing.to_string(), "writing");
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_drain_is_seen_by_connections_of_before_and_after() {
    let tracker = Tracker::new();
    let (before, _client) = moved_away(&tracker, 1).await;
    let signal = before.drain();
    assert!(!signal.is_signaled() && !tracker.drain().is_signaled());
    let waits = tokio::spawn(async move { signal.signaled().await });
    tokio::task::yield_now().await;

    tracker.start_drain();
    within(waits).await.unwrap();
    assert!(before.drain().is_signaled());
    let (after, _client) = moved_away(&tracker, 1).await;
    assert!(after.drain().is_signaled());
    within(after.drain().signaled()).await;
    assert_eq!(tracker.len(), 2, "an announcement ends nothing");
}

/// A waker holds the memory of its task, and a connection's future is large.
#[tokio::test]
async fn a_stream_that_was_moved_away_does_not_keep_the_task_of_its_connection() {
    struct Task;
    impl std::task::Wake for Task {
        fn wake(self: std::sync::Arc<Self>) {}
    }

    let tracker = Tracker::new();
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let (go, gone) = tokio::sync::watch::channel(());
    let mut service = TrackLayer::new(tracker.clone()).layer(service_fn(move |stream| {
        let (send, mut gone) = (send.clone(), gone.clone());
        async move {
            gone.changed().await.map_err(|_| "the test is gone")?;
            send.send(stream).map_err(|_| "the test is gone")
        }
    }));
    let (server, _client) = duplex(1);
    let task = std::sync::Arc::new(Task);
    let alive = std::sync::Arc::downgrade(&task);
    {
        let waker = task.into();
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(service.call(server));
        assert!(future.as_mut().poll(&mut context).is_pending());
        go.send(()).unwrap();
        assert!(future.as_mut().poll(&mut context).is_ready());
    }
    let stream: Tracked<DuplexStream> = receive.recv().await.unwrap();
    assert_eq!(tracker.len(), 1, "it is open");
    assert!(alive.upgrade().is_none(), "its task is not kept");
    drop(stream);
}
