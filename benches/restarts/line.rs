//! A line of servers, started as this program itself, and told what to do by signals. What they say goes through a pipe that
//! all of them share.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
    time::Duration,
};

use portcullis::{Accepted, Generation, layers::BoxError};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
};

/// The line, as its operator sees it.
pub(crate) struct Line {
    address: SocketAddr,
    serving: i32,
    said: Lines<BufReader<ChildStdout>>,
    _first: Child,
}

impl Line {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        // A port that is free now; nobody else here looks for one.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut first = command(address)?.stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(first.stdout.take().ok_or("no pipe")?).lines();
        let mut line = Self { address, serving: 0, said, _first: first };
        line.serving = line.hears("serving ").await?.parse()?;
        Ok(line)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Restarts; returns the time from the request to the commit.
    pub(crate) async fn restart(&mut self) -> Result<Duration, BoxError> {
        self.signal(Signal::USR1)?;
        self.serving = self.hears("serving ").await?.parse()?;
        Ok(Duration::from_nanos(self.hears("took ").await?.parse()?))
    }

    /// Starts a process of the same kind that takes over nothing, and ends it when it serves.
    pub(crate) async fn start_beside(&self) -> Result<(), BoxError> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut child = command(address)?.stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        said.next_line().await?;
        Ok(child.kill().await?)
    }

    pub(crate) async fn stop(mut self) -> Result<(), BoxError> {
        self.signal(Signal::TERM)?;
        while self.said.next_line().await?.is_some() {}
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), BoxError> {
        let pid = Pid::from_raw(self.serving).ok_or("no process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// The rest of the next line that begins so.
    async fn hears(&mut self, word: &str) -> Result<String, BoxError> {
        while let Some(said) = self.said.next_line().await? {
            if let Some(rest) = said.strip_prefix(word) {
                return Ok(rest.to_owned());
            }
            if let Some(why) = said.strip_prefix("failed ") {
                return Err(why.into());
            }
        }
        Err("the servers are gone".into())
    }
}

fn command(address: SocketAddr) -> Result<Command, BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--serve", &address.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// One server: gives every byte back.
pub(crate) async fn serve(address: SocketAddr) -> Result<(), BoxError> {
    let generation = Generation::builder().signals(false).probation(Duration::ZERO).start().await?;
    let listener = generation.listen("bench", address)?;
    let obeying = tokio::spawn(obey(generation.clone())?);
    tokio::spawn({
        let mut phases = generation.phases();
        async move {
            if phases.wait_for(|phase| *phase == portcullis::Phase::Serving).await.is_ok() {
                println!("serving {}", std::process::id());
            }
        }
    });
    listener
        .serve(tower::service_fn(async |mut connection: Accepted| {
            let mut byte = [0];
            connection.read_exact(&mut byte).await?;
            connection.write_all(&byte).await
        }))
        .await?;
    // The last word may not be out yet.
    Ok(obeying.await?)
}

/// Does as it is told, until this server is to end.
fn obey(generation: Generation) -> Result<impl Future<Output = ()>, BoxError> {
    let mut restart = signal(SignalKind::user_defined1())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = restart.recv() => match generation.restart().await {
                    Ok(restarted) => return println!("took {}", restarted.took.as_nanos()),
                    Err(error) => println!("failed {error}"),
                },
                _ = terminate.recv() => return generation.drain(),
            }
        }
    })
}
