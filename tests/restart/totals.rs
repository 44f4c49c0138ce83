//! A line of processes is one server to whoever watches its metrics: totals go on over restarts and rollbacks, each
//! connection is counted once, and a connection that outlives several restarts stays in the graphs until it ends.

use std::collections::BTreeMap;

use harness::{Echo, Exit, Kind, Load, Metrics, Process, Server, Signal, get, within};
use tokio::{sync::watch, task::JoinHandle};

const ACTIVE: &str = "portcullis_connections_active";
const BYTES: &str = "portcullis_connection_bytes_total";
const DRAINING: &str = "portcullis_generations_draining";

fn echo(metrics: &Metrics, name: &str) -> f64 {
    metrics.sum(name, &[("listener", "echo")])
}

fn accepted(metrics: &Metrics) -> f64 {
    echo(metrics, "portcullis_connections_accepted_total")
}

fn closed(metrics: &Metrics) -> f64 {
    echo(metrics, "portcullis_connections_closed_total")
}

/// Restarts that succeeded: the new process counts its own a moment after the old one has reported it.
fn succeeded(metrics: &Metrics) -> f64 {
    metrics.sum("portcullis_restarts_total", &[("result", "succeeded")])
}

/// Open connections that this generation is shown to serve.
fn active_in(metrics: &Metrics, generation: &str) -> f64 {
    metrics.sum(ACTIVE, &[("listener", "echo"), ("generation", generation)])
}

fn shows_generations(metrics: &Metrics) -> bool {
    metrics.series.iter().any(|series| series.labels.contains_key("generation"))
}

/// Scrapes all the time, and fails if a total falls or vanishes, or if a generation is shown while none drains.
struct Watcher {
    stopped: watch::Sender<bool>,
    scrapes: watch::Receiver<usize>,
    watching: JoinHandle<()>,
}

type Totals = BTreeMap<(String, Vec<(String, String)>), f64>;

impl Watcher {
    fn of(server: &Server) -> Self {
        let (stopped, stop) = watch::channel(false);
        let (scraped, scrapes) = watch::channel(0);
        let admin = server.admin();
        let watching = tokio::spawn(async move {
            let mut last = Totals::new();
            while !*stop.borrow() {
                // Whoever is killed while it answers is not heard to the end.
                let Ok(answer) = get(admin, "/metrics").await else { continue };
                let metrics = Metrics::parse(&answer.body);
                let drains = metrics.sum(DRAINING, &[]) > 0.0;
                assert!(drains || !shows_generations(&metrics), "none drains: {}", answer.body);
                let totals = totals(&metrics);
                for (series, value) in &last {
                    let now = totals.get(series);
                    assert!(now.is_some_and(|now| now >= value), "{series:?} fell from {value} to {now:?}");
                }
                last = totals;
                scraped.send_modify(|scrapes| *scrapes += 1);
            }
        });
        Self { stopped, scrapes, watching }
    }

    /// Ends it, once it has also seen what there is now.
    async fn stop(mut self) {
        let seen = *self.scrapes.borrow() + 2;
        // An error is a watcher that has failed.
        _ = within("two more scrapes", self.scrapes.wait_for(|scrapes| *scrapes >= seen)).await;
        self.stopped.send_replace(true);
        within("the last scrape", self.watching).await.expect("no total falls");
    }
}

/// Everything that is counted by the line; the processor's time is a process' own.
fn totals(metrics: &Metrics) -> Totals {
    let is_counted = |name: &str| {
        let kind = |name: &str| metrics.types.get(name).map(String::as_str);
        kind(name) == Some("counter")
            || ["_bucket", "_sum", "_count"].iter().any(|suffix| {
                name.strip_suffix(suffix).is_some_and(|family| kind(family) == Some("histogram"))
            })
    };
    metrics
        .series
        .iter()
        .filter(|series| is_counted(&series.name) && !series.name.starts_with("process_"))
        .map(|series| {
            let labels = series.labels.iter().map(|(label, value)| (label.clone(), value.clone())).collect();
            ((series.name.clone(), labels), series.value)
        })
        .collect()
}

#[tokio::test]
async fn totals_under_load_equal_what_clients_did() {
    const RESTARTS: usize = 3;

    let mut server = Echo::new(Kind::Tcp).option("--drain-timeout", "600s").start().await;
    let watcher = Watcher::of(&server);
    let mut load = Load::on(server.target());
    for _ in 0..RESTARTS {
        load.hold().await;
        load.more(20).await;
        server.restart().await;
    }
    load.more(20).await;
    let tally = load.stop().await;
    tally.assert_clean(20 * (RESTARTS + 1));

    let connections = (tally.visits + RESTARTS) as f64;
    server
        .metrics_when("all connections are counted, and drainers gone", |metrics| {
            closed(metrics) >= connections
                && echo(metrics, ACTIVE) == 0.0
                && metrics.sum(DRAINING, &[]) == 0.0
        })
        .await;
    watcher.stop().await;
    // A scrape reads one series after another, and the last connection may have been closed meanwhile.
    let metrics = server.metrics().await;
    assert_eq!(accepted(&metrics), connections);
    assert_eq!(closed(&metrics), connections);
    assert_eq!(echo(&metrics, "portcullis_connection_duration_seconds_count"), connections);
    assert_eq!(echo(&metrics, ACTIVE), 0.0);
    let bytes = |direction| metrics.sum(BYTES, &[("listener", "echo"), ("direction", direction)]);
    assert_eq!(bytes("read"), bytes("written"));
    // The line's own.
    let restarts = RESTARTS as f64;
    assert_eq!(succeeded(&metrics), restarts);
    assert_eq!(metrics.sum("portcullis_restart_duration_seconds_count", &[]), restarts);
    assert_eq!(metrics.sum("portcullis_drain_duration_seconds_count", &[]), restarts);
    assert!(!shows_generations(&metrics), "{:#?}", metrics.nonzero());
}

#[tokio::test]
async fn a_connection_that_outlives_two_restarts_is_shown_until_it_ends() {
    let mut server = Echo::new(Kind::Tcp).option("--drain-timeout", "120s").start().await;
    let mut oldest = server.target().connect().await.expect("a connection");
    oldest.echo(1000).await.expect("an echo");
    let first = server.restart().await;
    let mut younger = server.target().connect().await.expect("a connection");
    younger.echo(10).await.expect("an echo");
    let second = server.restart().await;

    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("portcullis_generation", &[]), 3.0, "each process' own is not added");
    assert_eq!(metrics.sum(DRAINING, &[]), 2.0);
    assert_eq!((active_in(&metrics, "1"), active_in(&metrics, "2")), (1.0, 1.0));
    assert_eq!(echo(&metrics, ACTIVE), 2.0, "and the one that serves has none");
    assert_eq!((accepted(&metrics), closed(&metrics)), (2.0, 0.0));

    // It is used, and that is seen.
    oldest.echo(5000).await.expect("it is still served");
    let read = |metrics: &Metrics| metrics.sum(BYTES, &[("listener", "echo"), ("direction", "read")]);
    server.metrics_when("its bytes are counted while it lives", |metrics| read(metrics) == 6010.0).await;

    younger.finish().await.expect("an orderly end");
    // Its parent, the first, is told how it ended.
    second.ended().await;
    let metrics = server
        .metrics_when("the second generation is gone", |metrics| metrics.sum(DRAINING, &[]) == 1.0)
        .await;
    assert_eq!((active_in(&metrics, "1"), active_in(&metrics, "2")), (1.0, 0.0));
    assert_eq!(closed(&metrics), 1.0);

    oldest.finish().await.expect("an orderly end");
    assert_eq!(first.ended().await, Exit::Code(0));
    let metrics = server
        .metrics_when("the first generation is gone", |metrics| metrics.sum(DRAINING, &[]) == 0.0)
        .await;
    assert!(!shows_generations(&metrics), "{:#?}", metrics.nonzero());
    assert_eq!((accepted(&metrics), closed(&metrics), read(&metrics)), (2.0, 2.0, 6010.0));
    assert_eq!(echo(&metrics, ACTIVE), 0.0);
}

#[tokio::test]
async fn totals_of_a_killed_generation_stay() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(1000).await.expect("an echo");
    let first = server.restart().await;
    let bytes = |metrics: &Metrics| echo(metrics, BYTES);
    let watcher = Watcher::of(&server);
    client.echo(1000).await.expect("an echo");
    server.metrics_when("its bytes are seen", |metrics| bytes(metrics) == 4000.0).await;

    first.signal(Signal::KILL);
    first.ended().await;
    let metrics = server.metrics_when("it is gone", |metrics| metrics.sum(DRAINING, &[]) == 0.0).await;
    assert_eq!((bytes(&metrics), accepted(&metrics)), (4000.0, 1.0));
    assert!(!shows_generations(&metrics), "{:#?}", metrics.nonzero());
    server.restart().await;
    let metrics = server.metrics().await;
    assert_eq!((bytes(&metrics), accepted(&metrics)), (4000.0, 1.0));
    watcher.stop().await;
}

#[tokio::test]
async fn a_rollback_loses_nothing_and_counts_nothing_twice() {
    let (echo, script, again) = Echo::new(Kind::Tcp).probation("60s").start_script();
    let mut server = echo.start().await;
    let watcher = Watcher::of(&server);
    server.target().visit(1000).await.expect("served");

    server.serving().signal(Signal::USR1);
    let on_probation = |line: &str| line.contains("serving generation=2");
    server.log().wait_from(0, "a successor on probation", on_probation).await;
    server.target().visit(1000).await.expect("served by the successor");
    server
        .metrics_when("the successor has counted it", |metrics| {
            metrics.sum("portcullis_generation", &[]) == 2.0 && closed(metrics) == 2.0
        })
        .await;
    Process::new(server.pid_in_file()).signal(Signal::KILL);
    server.log().wait_from(0, "a rollback", |line| line.contains("restart failed")).await;

    server.target().visit(1000).await.expect("served by the first again");
    let metrics = server.metrics_when("it is counted", |metrics| closed(metrics) >= 3.0).await;
    assert_eq!(metrics.sum("portcullis_generation", &[]), 1.0);
    assert_eq!((accepted(&metrics), closed(&metrics), metrics.sum(DRAINING, &[])), (3.0, 3.0, 0.0));
    assert_eq!(metrics.sum("portcullis_restarts_total", &[("result", "rolled_back")]), 1.0);

    script.write(&again.replace("--probation 60s", "--probation 0s"));
    server.restart().await;
    server.alone().await;
    let metrics = server.metrics_when("the restart is counted", |metrics| succeeded(metrics) >= 1.0).await;
    assert_eq!((accepted(&metrics), closed(&metrics)), (3.0, 3.0));
    assert_eq!(metrics.sum("portcullis_restarts_total", &[("result", "rolled_back")]), 1.0);
    assert_eq!(succeeded(&metrics), 1.0);
    watcher.stop().await;
}

/// `RLIMIT_FSIZE` forbids a page of metrics, and raises SIGXFSZ where it is not respected.
#[tokio::test]
async fn a_restart_without_shared_memory_costs_totals_only() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    server.target().visit(1000).await.expect("served");
    let warnings = |server: &Server| {
        let warned = |line: &str| line.contains("cannot share metrics") && line.contains("ftruncate");
        server.log().count_from(0, warned)
    };

    // The first generation has a page, the second none.
    server.serving().limit_file_size(Some(1 << 20));
    server.restart().await;
    server.alone().await;
    server.target().visit(1000).await.expect("served");
    let metrics = server.metrics_when("both are counted", |metrics| closed(metrics) >= 2.0).await;
    assert_eq!((accepted(&metrics), closed(&metrics)), (2.0, 2.0));
    assert_eq!(warnings(&server), 2, "one of each process");

    server.restart().await;
    server.alone().await;
    let metrics = server.metrics_when("the restart is counted", |metrics| succeeded(metrics) >= 1.0).await;
    assert_eq!(accepted(&metrics), 0.0, "what the second has counted, no other could read");
    assert_eq!(succeeded(&metrics), 1.0);

    // Once it is allowed again, totals go on from there.
    server.serving().limit_file_size(None);
    server.restart().await;
    server.target().visit(1000).await.expect("served");
    server.restart().await;
    let metrics = server.metrics_when("it is counted", |metrics| closed(metrics) >= 1.0).await;
    assert_eq!((accepted(&metrics), closed(&metrics)), (1.0, 1.0));
    assert_eq!(server.log().count_from(0, |line| line.contains("restart failed")), 0);
}
