//! Clients that connect, have one byte echoed, and go, all the time.

use std::{
    mem,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use portcullis::layers::BoxError;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};

pub(crate) struct Load {
    seen: Arc<Mutex<Seen>>,
    stopped: watch::Sender<bool>,
    clients: JoinSet<()>,
}

/// What all clients have seen.
#[derive(Default)]
struct Seen {
    /// When each connection was served, in this window.
    served: Vec<Instant>,
    visits: usize,
    failures: usize,
}

impl Load {
    pub(crate) fn on(address: SocketAddr, clients: usize) -> Self {
        let (seen, stopped) = (Arc::<Mutex<Seen>>::default(), watch::Sender::new(false));
        let mut set = JoinSet::new();
        for _ in 0..clients {
            let (seen, stopped) = (seen.clone(), stopped.subscribe());
            set.spawn(async move {
                while !*stopped.borrow() {
                    let visited = visit(address).await;
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.visits += 1;
                    match visited {
                        Ok(()) => seen.served.push(Instant::now()),
                        Err(error) => {
                            seen.failures += 1;
                            eprintln!("a client was let down: {error}");
                        }
                    }
                }
            });
        }
        Self { seen, stopped, clients: set }
    }

    /// The longest time without a new connection in a window of this length, in which something else is done as well.
    pub(crate) async fn window(
        &mut self,
        length: Duration,
        meanwhile: impl Future<Output = Result<(), BoxError>>,
    ) -> Result<Duration, BoxError> {
        let begun = Instant::now();
        drop(self.take());
        let ((), done) = tokio::join!(tokio::time::sleep(length), meanwhile);
        done?;
        let mut times = self.take();
        times.extend([begun, Instant::now()]);
        times.sort();
        Ok(times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default())
    }

    fn take(&self) -> Vec<Instant> {
        mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner).served)
    }

    /// How many visits there were, and how many failed.
    pub(crate) async fn stop(mut self) -> (usize, usize) {
        self.stopped.send_replace(true);
        while self.clients.join_next().await.is_some() {}
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.visits, seen.failures)
    }
}

async fn visit(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(b"x").await?;
    let mut byte = [0];
    stream.read_exact(&mut byte).await?;
    // Without TIME_WAIT: a thousand restarts would use up the ports.
    stream.set_zero_linger()
}
