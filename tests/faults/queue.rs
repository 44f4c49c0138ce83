//! Clients that the kernel has connected, and that nobody has accepted yet.

use crate::harness::{Client, Target};

/// See the module.
pub(crate) struct Queue(Vec<(Client, Vec<u8>)>);

/// As many; fewer than the queue of the socket is long.
const CLIENTS: usize = 40;

impl Queue {
    /// Clients connect, and send something.
    pub(crate) async fn up(target: &Target) -> Self {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = target.connect().await.expect("a place in the queue");
            let sent = client.send(1000).await.expect("the kernel takes it");
            clients.push((client, sent));
        }
        Self(clients)
    }

    /// Every one of them is served.
    pub(crate) async fn is_served(self) {
        for (number, (mut client, sent)) in self.0.into_iter().enumerate() {
            let served = async {
                client.expect(&sent).await?;
                client.echo(1000).await?;
                client.finish().await
            };
            served.await.unwrap_or_else(|fault| panic!("client {number}: {fault:?}"));
        }
    }
}
