//! Twenty restarts in a row, with clients that come and go all the time and clients that stay: not one of them is refused,
//! reset, cut short or given a wrong byte.

use harness::{Echo, Exit, Kind, Load};

const RESTARTS: u64 = 20;

async fn lossless(kind: Kind) {
    let mut server = Echo::new(kind).option("--drain-timeout", "60s").start().await;
    let mut load = Load::on(server.target());
    load.hold().await;
    load.more(20).await;
    let mut earlier = Vec::new();
    for restart in 0..RESTARTS {
        earlier.push(server.restart().await);
        // Each generation serves for a while, and some have a client that stays with them.
        load.more(10).await;
        if restart % 5 == 0 {
            load.hold().await;
        }
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("portcullis_generation", &[]), (RESTARTS + 1) as f64);

    load.stop().await.assert_clean(200);
    server.alone().await;
    for process in &earlier {
        let exit = process.ended().await;
        // Where its own parent has seen it end, nobody tells us.
        assert!(
            matches!(exit, Exit::Code(0) | Exit::Unknown),
            "process {} ended with {exit:?}",
            process.pid()
        );
    }
    server.serving().no_child_left().await;
    assert_eq!(server.terminate().await, Exit::Code(0));
}

#[tokio::test]
async fn a_restart_over_tcp_loses_no_connection() {
    lossless(Kind::Tcp).await;
}

#[tokio::test]
async fn a_restart_over_unix_loses_no_connection() {
    lossless(Kind::Unix).await;
}

#[tokio::test]
async fn a_restart_over_tls_loses_no_connection() {
    lossless(Kind::Tls).await;
}

/// A connection is served to its end by the generation that accepted it, at whatever point the restart met it.
#[tokio::test]
async fn connections_of_the_predecessor_are_finished() {
    for kind in [Kind::Tcp, Kind::Unix, Kind::Tls] {
        let mut server = Echo::new(kind).start().await;
        let mut fresh = server.target().connect().await.expect("a connection");
        let mut used = server.target().connect().await.expect("a connection");
        used.echo(1000).await.expect("an echo");
        let mut amid = server.target().connect().await.expect("a connection");
        let sent = amid.send(50_000).await.expect("bytes are taken");

        let predecessor = server.restart().await;

        amid.expect(&sent).await.expect("what was on its way arrives");
        for client in [&mut fresh, &mut used, &mut amid] {
            client.echo(200_000).await.expect("and it goes on");
        }
        assert!(!predecessor.is_over(), "it still has clients");
        for client in [fresh, used, amid] {
            client.finish().await.expect("an orderly end");
        }
        assert_eq!(predecessor.ended().await, Exit::Code(0));
        server.target().visit(1000).await.expect("the successor serves");
    }
}
