//! Connections that the kernel has completed while nobody accepted are served: by the next generation after a restart,
//! by the last one before it ends.

use harness::{Client, Echo, Exit, Kind, Server, Signal};

/// Clients that wait at the same time; fewer than the queue is long.
const CLIENTS: usize = 200;

/// Clients that connect to a server that stands still, and send something.
async fn queued(server: &Server) -> Vec<(Client, Vec<u8>)> {
    server.serving().signal(Signal::STOP);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = server.target().connect().await.expect("a place in the queue");
        let sent = client.send(1000).await.expect("the kernel takes it");
        clients.push((client, sent));
    }
    clients
}

async fn all_are_served(clients: Vec<(Client, Vec<u8>)>) {
    for (number, (mut client, sent)) in clients.into_iter().enumerate() {
        client.expect(&sent).await.unwrap_or_else(|fault| panic!("client {number}: {fault:?}"));
        client.echo(1000).await.unwrap_or_else(|fault| panic!("client {number}: {fault:?}"));
        client.finish().await.unwrap_or_else(|fault| panic!("client {number}: {fault:?}"));
    }
}

/// The signal is the first thing that the server learns when it goes on.
async fn after(kind: Kind, signal: Signal) -> (Server, Vec<(Client, Vec<u8>)>) {
    let server = Echo::new(kind).start().await;
    let clients = queued(&server).await;
    server.serving().signal(signal);
    server.serving().signal(Signal::CONT);
    (server, clients)
}

#[tokio::test]
async fn the_queue_is_served_before_the_end() {
    for kind in [Kind::Tcp, Kind::Unix] {
        let (server, clients) = after(kind, Signal::TERM).await;
        all_are_served(clients).await;
        assert_eq!(server.serving().ended().await, Exit::Code(0));
    }
}

#[tokio::test]
async fn the_queue_is_served_after_a_restart() {
    for kind in [Kind::Tcp, Kind::Unix] {
        let (mut server, clients) = after(kind, Signal::USR1).await;
        let predecessor = server.follow().await;
        all_are_served(clients).await;
        assert_eq!(predecessor.ended().await, Exit::Code(0));
    }
}
