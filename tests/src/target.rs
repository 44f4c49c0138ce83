//! Where a client connects, and how.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{
    Client,
    certificates::SERVER_NAME,
    client::{Fault, in_time},
};

/// Where and how.
#[derive(Clone, Debug)]
pub enum Target {
    Tcp {
        to: SocketAddr,
        /// The client's own address, where the kernel shall not choose it.
        from: Option<IpAddr>,
    },
    Tls {
        to: SocketAddr,
        from: Option<IpAddr>,
        config: Arc<ClientConfig>,
    },
    Unix(PathBuf),
}

impl Target {
    pub const fn tcp(to: SocketAddr) -> Self {
        Self::Tcp { to, from: None }
    }

    pub const fn tls(to: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self::Tls { to, from: None, config }
    }

    /// The same, from this address.
    pub fn from(self, ip: impl Into<IpAddr>) -> Self {
        let from = Some(ip.into());
        match self {
            Self::Tcp { to, .. } => Self::Tcp { to, from },
            Self::Tls { to, config, .. } => Self::Tls { to, from, config },
            Self::Unix(_) => panic!("the client of a Unix socket has no address"),
        }
    }

    /// Connects, and for TLS does the handshake.
    pub async fn connect(&self) -> Result<Client, Fault> {
        in_time(self.open()).await
    }

    async fn open(&self) -> io::Result<Client> {
        Ok(match self {
            Self::Tcp { to, from } => Client::new(connect(*to, *from).await?),
            Self::Tls { to, from, config } => {
                let stream = connect(*to, *from).await?;
                let name = ServerName::try_from(SERVER_NAME).expect("a DNS name");
                Client::new(TlsConnector::from(config.clone()).connect(name, stream).await?)
            }
            Self::Unix(path) => Client::new(UnixStream::connect(path).await?),
        })
    }

    /// One whole visit: connects, sends `length` bytes, receives them, says that it is done, hears the same.
    pub async fn visit(&self, length: usize) -> Result<(), Fault> {
        let mut client = self.connect().await?;
        client.echo(length).await?;
        client.finish().await
    }
}

/// A plain TCP connection.
pub async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(ip) = from else { return TcpStream::connect(to).await };
    let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(ip, 0))?;
    socket.connect(to).await
}
