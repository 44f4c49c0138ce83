//! What the registry of open connections promises.

#[path = "../certificates/mod.rs"]
mod certificates;
mod compose;
mod echo;
mod ending;
mod identity;
mod meanwhile;
mod open;
mod stream;
mod vectored;
#[path = "../within/mod.rs"]
mod within;

use std::future::Future;

use portcullis_layers::{
    BoxError, Connection,
    track::{Activity, TrackLayer, Tracked, Tracker},
};
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
    task::JoinHandle,
};
use tower::{Layer, ServiceExt, service_fn};

use within::within;

/// Serves one connection in a task of its own, with the stream handed to `leaf`.
fn serve<C, F>(
    tracker: &Tracker,
    connection: C,
    leaf: impl FnOnce(Tracked<C>) -> F + Clone + Send + 'static,
) -> JoinHandle<Result<(), BoxError>>
where
    C: Connection,
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let service = TrackLayer::new(tracker.clone()).layer(service_fn(move |stream| (leaf.clone())(stream)));
    tokio::spawn(service.oneshot(connection))
}

/// A tracked stream in memory that was moved out of its service, whose future is over; and the client's end.
async fn moved_away(tracker: &Tracker, buffer: usize) -> (Tracked<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(buffer);
    (moved_out(tracker, server).await, client)
}

/// A tracked stream that was moved out of its service, whose future is over.
async fn moved_out<C: Connection>(tracker: &Tracker, connection: C) -> Tracked<C> {
    let (send, mut receive) = mpsc::unbounded_channel();
    let served = serve(tracker, connection, move |stream| {
        let sent = send.send(stream).map_err(|_| "the test is gone".into());
        async { sent }
    });
    within(served).await.expect("no panic").expect("ended well");
    receive.recv().await.expect("sent")
}

/// Waits until the only connection does this.
async fn until(tracker: &Tracker, activity: Activity) {
    within(async {
        while !tracker.connections().iter().any(|connection| connection.activity == activity) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
