//! Clients that the kernel has connected, and that nobody has accepted yet.

use std::{fs, net::SocketAddr};

use harness::{Client, Target};

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

    /// Nobody has accepted one of them.
    #[track_caller]
    pub(crate) fn is_whole(&self, target: &Target) {
        let Target::Tcp { to: SocketAddr::V4(to), .. } = target else { panic!("not IPv4: {target:?}") };
        // In the table of proc_pid_net(5) the receive queue of a socket that listens is what waits to be accepted.
        let address = format!("{:08X}:{:04X}", u32::from_ne_bytes(to.ip().octets()), to.port());
        let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
        let listens = |fields: &Vec<&str>| fields[1] == address && fields[3] == "0A";
        let sockets = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let socket = sockets.into_iter().find(listens).expect("somebody listens");
        let (_, waiting) = socket[4].split_once(':').expect("two queues");
        assert_eq!(usize::from_str_radix(waiting, 16), Ok(self.0.len()));
    }

    /// Every one of them is served.
    pub(crate) async fn gets_served(self) {
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
