//! What the registry of open connections promises.

mod compose;
mod echo;
mod ending;
mod meanwhile;
mod open;
mod stream;
mod vectored;

use std::{future::Future, time::Duration};

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

/// The deadline of everything here that should come at once.
///
/// Not `tokio::time::timeout`: that polls the future once more when the time is up, and a future whose wake-up was lost
/// would then be found ready after all.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::select! {
        biased;
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("should have come long ago"),
        output = future => output,
    }
}

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
    soon(served).await.expect("no panic").expect("ended well");
    receive.recv().await.expect("sent")
}

/// Waits until the only connection does this.
async fn until(tracker: &Tracker, activity: Activity) {
    soon(async {
        while !tracker.connections().iter().any(|connection| connection.activity == activity) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
