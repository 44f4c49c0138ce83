//! The layer beside tower's own, around and under it.

use std::{
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use portcullis_layers::{
    BoxError,
    allowlist::{AllowlistError, AllowlistLayer},
    metrics::Metered,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tower::{
    Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, load_shed::LoadShedLayer, service_fn,
    timeout::TimeoutLayer,
};

use crate::{Recorded, echo::Echo, within};

fn is_ready<S: Service<DuplexStream>>(service: &mut S) -> bool {
    service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

async fn ready<S: Service<DuplexStream, Error = BoxError>>(service: &mut S) -> &mut S {
    service.ready().await.unwrap()
}

#[tokio::test]
async fn a_concurrency_limit_on_either_side_stops_the_accept_loop() {
    fn one_at_a_time<S>(mut service: S, recorded: &Recorded)
    where
        S: Service<DuplexStream, Response = (), Error = BoxError>,
    {
        assert!(is_ready(&mut service));
        let (server, _client) = duplex(1);
        let first = service.call(server);
        assert_eq!(recorded.get("connections_active"), 1.0);
        assert!(!is_ready(&mut service), "the limit is seen through the layer");
        drop(first);
        assert!(is_ready(&mut service));
        recorded.assert_at_rest();
    }
    let recorded = Recorded::new();
    let limit = || ConcurrencyLimitLayer::new(1);
    one_at_a_time(ServiceBuilder::new().layer(limit()).layer(recorded.layer()).service(Echo), &recorded);
    one_at_a_time(ServiceBuilder::new().layer(recorded.layer()).layer(limit()).service(Echo), &recorded);
}

#[tokio::test]
async fn what_load_shed_turns_away_under_it_is_rejected() {
    let recorded = Recorded::new();
    let mut service = ServiceBuilder::new()
        .layer(recorded.layer())
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Echo);
    let (server, _client) = duplex(1);
    let first = ready(&mut service).await.call(server);
    let (server, mut client) = duplex(1);
    let second = ready(&mut service).await.call(server);
    assert!(within(second).await.unwrap_err().is::<tower::load_shed::error::Overloaded>());
    assert_eq!(within(client.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(recorded.get("connections_rejected_total,reason=overload"), 1.0);
    drop(first);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn what_load_shed_turns_away_around_it_never_came() {
    let recorded = Recorded::new();
    let mut service = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .layer(recorded.layer())
        .service(Echo);
    let (server, _client) = duplex(1);
    let first = ready(&mut service).await.call(server);
    let (server, _client) = duplex(1);
    assert!(within(ready(&mut service).await.call(server)).await.is_err());
    assert_eq!(recorded.get("connections_accepted_total"), 1.0);
    drop(first);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn what_an_allowlist_under_it_denies_is_rejected() {
    let recorded = Recorded::new();
    let nobody = AllowlistLayer::new([]);
    let service = ServiceBuilder::new().layer(recorded.layer()).layer(nobody).service(Echo);
    let (server, _client) = duplex(1);
    assert!(within(service.oneshot(server)).await.unwrap_err().is::<AllowlistError>(), "passed on unchanged");
    assert_eq!(recorded.get("connections_rejected_total,reason=address"), 1.0);
    recorded.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_timeout_under_it_is_the_lifetime_and_around_it_kills() {
    let recorded = Recorded::new();
    let timeout = || TimeoutLayer::new(Duration::from_secs(1));
    let (server, _client) = duplex(1);
    let under = ServiceBuilder::new().layer(recorded.layer()).layer(timeout()).service(Echo);
    assert!(under.oneshot(server).await.is_err());
    assert_eq!(recorded.get("connections_closed_total,reason=lifetime"), 1.0);

    let (server, _client) = duplex(1);
    let around = ServiceBuilder::new().layer(timeout()).layer(recorded.layer()).service(Echo);
    assert!(around.oneshot(server).await.is_err());
    assert_eq!(recorded.get("connections_closed_total,reason=killed"), 1.0);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn it_may_be_an_option() {
    let recorded = Recorded::new();
    for (metered, accepted) in [(true, 1.0), (false, 1.0)] {
        let mut service = ServiceBuilder::new().option_layer(metered.then(|| recorded.layer())).service(Echo);
        let (server, mut client) = duplex(8);
        let served = tokio::spawn(service.call(server));
        client.write_all(b"echo").await.unwrap();
        client.shutdown().await.unwrap();
        let mut echo = Vec::new();
        within(client.read_to_end(&mut echo)).await.unwrap();
        assert_eq!(echo, b"echo");
        within(served).await.unwrap().unwrap();
        assert_eq!(recorded.get("connections_accepted_total"), accepted);
    }
    assert_eq!(recorded.get("connection_bytes_total,direction=written"), 4.0);
    recorded.assert_at_rest();
}

#[tokio::test]
async fn the_connection_may_be_mapped_on_either_side() {
    let recorded = Recorded::new();
    let mut service = ServiceBuilder::new()
        .map_request(|(connection, _address): (DuplexStream, &str)| connection)
        .layer(recorded.layer())
        .map_request(|stream: Metered<DuplexStream>| (stream, "a note"))
        .service(service_fn(|(mut stream, note): (Metered<DuplexStream>, &'static str)| async move {
            stream.write_all(note.as_bytes()).await?;
            Ok::<_, BoxError>(())
        }));
    let (server, _client) = duplex(8);
    within(pin!(service.call((server, "address")))).await.unwrap();
    assert_eq!(recorded.get("connection_bytes_total,direction=written"), 6.0);
    recorded.assert_at_rest();
}
