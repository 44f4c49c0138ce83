//! R7: restarts while older generations still drain. They work up to the cap; past it they are refused with a reason, and work
//! again when one of the older is gone.

use harness::{Client, Echo, Exit, Kind, Load, Server};

async fn client(server: &Server) -> Client {
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(1000).await.expect("an echo");
    client
}

#[tokio::test]
async fn restarts_succeed_while_older_generations_drain_up_to_the_limit() {
    let echo = Echo::new(Kind::Tcp).option("--draining-limit", "3").option("--drain-timeout", "600s");
    let mut server = echo.start().await;
    let load = Load::on(server.target());
    let (mut clients, mut older) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        // Each keeps its generation from ending.
        clients.push(client(&server).await);
        older.push(server.restart().await);
    }
    clients.push(client(&server).await);
    for _ in 0..2 {
        let start = server.log().len();
        server.fail_to_restart(&["refused"]).await;
        let reason = |line: &str| line.contains("3 older generations still drain, which is the limit");
        assert_eq!(server.log().count_from(start, reason), 1, "with the reason");
    }
    server.serving().no_child_left().await;
    for client in &mut clients {
        client.echo(1000).await.expect("all generations serve their clients");
    }

    // One in the middle goes.
    clients.remove(1).finish().await.expect("an orderly end");
    older.remove(1).ended().await;
    older.push(server.restart().await);
    for client in clients {
        client.finish().await.expect("an orderly end");
    }
    for process in older {
        assert!(matches!(process.ended().await, Exit::Code(0) | Exit::Unknown));
    }
    load.more(10).await;
    load.stop().await.assert_clean(20);
    server.alone().await;
}
