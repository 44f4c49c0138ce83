//! The layer beside tower's own, around and under it.

use std::{
    future::{pending, ready},
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use portcullis_layers::{
    BoxError, CloseReason, Connection, Outcome, RejectReason,
    track::{TrackLayer, Tracked, Tracker},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tower::{
    Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, load_shed::LoadShedLayer, service_fn,
    timeout::TimeoutLayer,
};

use crate::{echo::Echo, within};

fn ending(error: &BoxError) -> Outcome {
    Outcome::of(Err(&**error))
}

fn is_ready<S: Service<DuplexStream>>(service: &mut S) -> bool {
    service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[tokio::test]
async fn a_concurrency_limit_on_either_side_stops_the_accept_loop() {
    fn echoes_one_at_a_time<S>(mut service: S, tracker: &Tracker)
    where
        S: Service<DuplexStream, Response = (), Error = BoxError>,
    {
        assert!(is_ready(&mut service));
        let (server, _client) = duplex(1);
        let first = service.call(server);
        assert_eq!(tracker.len(), 1);
        assert!(!is_ready(&mut service), "the limit is seen through the layer");
        drop(first);
        assert!(tracker.is_empty());
        assert!(is_ready(&mut service));
    }
    let tracker = Tracker::new();
    let track = || TrackLayer::new(tracker.clone());
    let limit = || ConcurrencyLimitLayer::new(1);
    echoes_one_at_a_time(ServiceBuilder::new().layer(limit()).layer(track()).service(Echo), &tracker);
    echoes_one_at_a_time(ServiceBuilder::new().layer(track()).layer(limit()).service(Echo), &tracker);
}

#[tokio::test]
async fn what_load_shed_turns_away_leaves_nothing_behind() {
    async fn sheds<S>(mut service: S, tracker: &Tracker)
    where
        S: Service<DuplexStream, Response = (), Error = BoxError>,
    {
        let (server, _client) = duplex(1);
        let _first = service.ready().await.unwrap().call(server);
        let (server, mut client) = duplex(1);
        let second = service.ready().await.unwrap().call(server);
        let error = within(second).await.unwrap_err();
        assert_eq!(ending(&error), Outcome::Rejected(RejectReason::Overload));
        assert_eq!(within(client.read(&mut [0])).await.unwrap(), 0);
        assert_eq!(tracker.len(), 1);
    }
    let tracker = Tracker::new();
    let stack = || ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(1));
    let shed = ServiceBuilder::new().layer(LoadShedLayer::new());
    let around = shed.clone().layer(TrackLayer::new(tracker.clone())).layer(stack().into_inner());
    sheds(around.service(Echo), &tracker).await;
    let under = ServiceBuilder::new().layer(TrackLayer::new(tracker.clone())).layer(shed.into_inner());
    sheds(under.layer(stack().into_inner()).service(Echo), &tracker).await;
    assert!(tracker.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_on_either_side_closes_the_connection() {
    async fn times_out<S>(service: S, tracker: &Tracker)
    where
        S: Service<DuplexStream, Response = (), Error = BoxError>,
    {
        let (server, mut client) = duplex(1);
        let error = service.oneshot(server).await.unwrap_err();
        assert_eq!(ending(&error), Outcome::Closed(CloseReason::Lifetime));
        assert!(tracker.is_empty());
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
    let tracker = Tracker::new();
    let track = || TrackLayer::new(tracker.clone());
    let timeout = || TimeoutLayer::new(Duration::from_secs(1));
    times_out(ServiceBuilder::new().layer(timeout()).layer(track()).service(Echo), &tracker).await;
    times_out(ServiceBuilder::new().layer(track()).layer(timeout()).service(Echo), &tracker).await;
}

#[tokio::test]
async fn it_may_be_an_option() {
    let tracker = Tracker::new();
    for (track, open) in [(true, 1), (false, 0)] {
        let mut service =
            ServiceBuilder::new().option_layer(track.then(|| TrackLayer::new(tracker.clone()))).service(Echo);
        let (server, mut client) = duplex(8);
        let served = tokio::spawn(service.call(server));
        assert_eq!(tracker.len(), open);
        client.write_all(b"echo").await.unwrap();
        client.shutdown().await.unwrap();
        let mut echo = Vec::new();
        within(client.read_to_end(&mut echo)).await.unwrap();
        assert_eq!(echo, b"echo");
        within(served).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_connection_may_be_mapped_on_either_side() {
    let tracker = Tracker::new();
    let mut service = ServiceBuilder::new()
        .map_request(|(connection, _address): (DuplexStream, &str)| connection)
        .layer(TrackLayer::new(tracker.clone()))
        .map_request(|stream: Tracked<DuplexStream>| (stream.id(), stream))
        .service(service_fn(|(id, stream): (u64, Tracked<DuplexStream>)| {
            ready(if id == stream.id() { Ok(()) } else { Err(BoxError::from("mixed up")) })
        }));
    let (server, _client) = duplex(1);
    within(service.call((server, "address"))).await.unwrap();
    assert!(tracker.is_empty());
}

#[tokio::test]
async fn it_may_be_there_twice() {
    let (outer, inner) = (Tracker::new(), Tracker::new());
    let mut service = ServiceBuilder::new()
        .layer(TrackLayer::new(outer.clone()))
        .layer(TrackLayer::new(inner.clone()))
        .service(service_fn(|_: Tracked<Tracked<DuplexStream>>| pending::<Result<(), BoxError>>()));
    let (server, _client) = duplex(1);
    let mut future = pin!(service.call(server));
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!((outer.len(), inner.len()), (1, 1));
    inner.close_all(CloseReason::Idle);
    assert_eq!(ending(&within(future).await.unwrap_err()), Outcome::Closed(CloseReason::Idle));
    assert!(inner.is_empty());
}

#[tokio::test]
async fn a_drain_is_heard_from_every_tracker_that_the_connection_belongs_to() {
    for first in 0..2 {
        let trackers = [Tracker::new(), Tracker::new()];
        let mut service = ServiceBuilder::new()
            .layer(TrackLayer::new(trackers[0].clone()))
            .layer(TrackLayer::new(trackers[1].clone()))
            .service(service_fn(|stream: Tracked<Tracked<DuplexStream>>| async move {
                stream.drain().signaled().await;
                Ok::<_, BoxError>(())
            }));
        let (server, _client) = duplex(1);
        let served = tokio::spawn(service.call(server));
        tokio::task::yield_now().await;
        trackers[first].start_drain();
        within(served).await.unwrap().unwrap();
    }
}
