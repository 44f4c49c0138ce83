//! The servers.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use portcullis::{
    Accepted, ConnectionService, Generation,
    admin::Exporter,
    layers::{
        BoxError,
        allowlist::{AllowlistLayer, Networks},
        metrics::MetricsLayer,
        tls::{MaybeTlsLayer, TlsLayer},
        track::TrackLayer,
    },
};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    runtime::Runtime,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs::Ticketer},
};
use tower::ServiceBuilder;

use super::Stack;

/// Bytes that the echo reads at a time.
const BUFFER: usize = 8 * 1024;

/// Connections that may queue: what a `GracefulListener` asks for.
const BACKLOG: i32 = 4096;

/// Where the servers are found. The client comes from any address of the loopback network.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const NETWORKS: &str = "127.0.0.0/8,::1/128";

/// An echo server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    runtime: Runtime,
}

impl Server {
    /// Starts a server, with TLS if there is a layer for it.
    pub(crate) fn start(stack: Stack, tls: Option<&TlsLayer>) -> Result<Self, BoxError> {
        Self::with_buffer(BUFFER, stack, tls)
    }

    /// As [`start`](Self::start); the echo reads so many bytes at a time.
    pub(crate) fn with_buffer(buffer: usize, stack: Stack, tls: Option<&TlsLayer>) -> Result<Self, BoxError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            // For `perf report --comm`.
            .thread_name(stack.name())
            .enable_all()
            .build()?;
        let address = match stack {
            Stack::Bare => runtime.block_on(bare(buffer, tls))?,
            _ => runtime.block_on(layered(buffer, stack, tls.cloned()))?,
        };
        Ok(Self { address, runtime })
    }

    /// The time that the worker has spent on the processor.
    pub(crate) fn processor_time(&self) -> Result<Duration, BoxError> {
        // The clock is the thread's own, and a spawned task runs on the only worker there is.
        let clock = self.runtime.spawn(async { clock_gettime(ClockId::ThreadCPUTime) });
        Ok(Duration::try_from(self.runtime.block_on(clock)?)?)
    }
}

/// Echoes until the peer is done: what every server here does with a connection.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(buffer: usize, mut stream: S) -> io::Result<()> {
    let mut buffer = vec![0; buffer];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
        stream.flush().await?;
    }
}

/// What one writes without portcullis.
async fn bare(buffer: usize, tls: Option<&TlsLayer>) -> io::Result<SocketAddr> {
    // With the options of a `GracefulListener`'s socket, which the accepted ones inherit.
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&LOOPBACK.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let address = listener.local_addr()?;

    let acceptor = match tls {
        None => None,
        Some(tls) => {
            // The same configuration, but for the tickets: rustls's own.
            let mut config = ServerConfig::clone(&tls.config());
            config.ticketer = Ticketer::new().map_err(io::Error::other)?;
            Some(TlsAcceptor::from(Arc::new(config)))
        }
    };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await?;
            match acceptor.clone() {
                None => tokio::spawn(echo(buffer, stream)),
                Some(acceptor) => {
                    tokio::spawn(async move { echo(buffer, acceptor.accept(stream).await?).await })
                }
            };
        }
        #[allow(unreachable_code, reason = "the type of the error")]
        io::Result::Ok(())
    });
    Ok(address)
}

/// The same through portcullis.
async fn layered(buffer: usize, stack: Stack, tls: Option<TlsLayer>) -> Result<SocketAddr, BoxError> {
    // Counters that are counted for nobody would cost less.
    exporter()?;
    let generation = Generation::builder().signals(false).start().await?;
    let metrics = MetricsLayer::new(stack.name());
    let track = TrackLayer::new(generation.tracker()).listener(stack.name());
    let allowlist = AllowlistLayer::from(NETWORKS.parse::<Networks>()?);
    let tls = MaybeTlsLayer::from(tls);

    let services = ServiceBuilder::new();
    match stack {
        Stack::Bare | Stack::Listener => {
            serve(&generation, services.layer(tls).service_fn(move |stream| echo(buffer, stream)))
        }
        Stack::Metrics => serve(
            &generation,
            services.layer(metrics).layer(tls).service_fn(move |stream| echo(buffer, stream)),
        ),
        Stack::Track => serve(
            &generation,
            services.layer(track).layer(tls).service_fn(move |stream| echo(buffer, stream)),
        ),
        Stack::Allowlist => serve(
            &generation,
            services.layer(allowlist).layer(tls).service_fn(move |stream| echo(buffer, stream)),
        ),
        Stack::Full => {
            let services = services.layer(metrics).layer(track).layer(allowlist).layer(tls);
            serve(&generation, services.service_fn(move |stream| echo(buffer, stream)))
        }
    }
}

fn serve<S>(generation: &Generation, stack: S) -> Result<SocketAddr, BoxError>
where
    S: ConnectionService<Accepted, Error = BoxError, Future: Send> + Send + 'static,
{
    let listener = generation.listen("echo", format!("tcp://{LOOPBACK}").as_str())?;
    let address = listener.local_address().to_string().parse()?;
    tokio::spawn(listener.serve(stack));
    Ok(address)
}

/// The recorder of this process, installed on the first call. That has to be within a runtime.
pub(crate) fn exporter() -> Result<&'static Exporter, BoxError> {
    static EXPORTER: OnceLock<Exporter> = OnceLock::new();
    if EXPORTER.get().is_none() {
        _ = EXPORTER.set(Exporter::install()?);
    }
    EXPORTER.get().ok_or_else(|| "the exporter was just installed".into())
}
