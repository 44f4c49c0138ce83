//! A crash of the serving process below a supervisor loses the connections that it had accepted, and no other: nobody is
//! refused, and those that wait in the queue are served by the next one.

use harness::{As, Echo, Kind, Load, Signal, Supervised};

/// Clients that wait at the same time; fewer than the queue is long.
const CLIENTS: usize = 200;

async fn queued_connections_are_served(how: As, kind: Kind) {
    let supervised = Supervised::echo(how, Echo::new(kind)).await;
    let mut serving = supervised.serving(0, 1).await;
    for _ in 0..3 {
        serving.stop().await;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = supervised.target().connect().await.expect("a place in the queue");
            let sent = client.send(1000).await.expect("the kernel takes it");
            clients.push((client, sent));
        }
        let start = supervised.log().len();
        serving.signal(Signal::KILL);
        for (number, (mut client, sent)) in clients.into_iter().enumerate() {
            client.expect(&sent).await.unwrap_or_else(|fault| panic!("client {number}: {fault:?}"));
            client.finish().await.unwrap_or_else(|fault| panic!("client {number}: {fault:?}"));
        }
        serving = supervised.serving(start, 1).await;
    }
    supervised.only(&serving).await;
}

#[tokio::test]
async fn a_supervised_restart_over_tcp_loses_no_connection() {
    queued_connections_are_served(As::Process, Kind::Tcp).await;
}

#[tokio::test]
async fn a_supervised_restart_over_unix_loses_no_connection() {
    queued_connections_are_served(As::Process, Kind::Unix).await;
}

#[tokio::test]
#[ignore = "needs root: a PID namespace"]
async fn a_restart_below_the_first_process_loses_no_connection() {
    queued_connections_are_served(As::FirstProcess, Kind::Tcp).await;
}

async fn killed_under_load(how: As, kind: Kind) {
    const KILLS: usize = 5;

    let supervised = Supervised::echo(how, Echo::new(kind)).await;
    let mut serving = supervised.serving(0, 1).await;
    let load = Load::on(supervised.target());
    for _ in 0..KILLS {
        load.more(20).await;
        let start = supervised.log().len();
        serving.signal(Signal::KILL);
        serving = supervised.serving(start, 1).await;
    }
    load.more(20).await;
    load.stop().await.assert_only_cut_off(100, KILLS);
    supervised.only(&serving).await;
}

#[tokio::test]
async fn nobody_is_refused_while_it_is_killed_under_load() {
    for kind in [Kind::Tcp, Kind::Unix, Kind::Tls] {
        killed_under_load(As::Process, kind).await;
    }
}

#[tokio::test]
#[ignore = "needs root: a PID namespace"]
async fn nobody_is_refused_below_the_first_process() {
    killed_under_load(As::FirstProcess, Kind::Tcp).await;
}
