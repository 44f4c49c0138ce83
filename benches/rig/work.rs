//! What the client does.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
};

use portcullis::layers::BoxError;
use socket2::{Domain, Socket, Type};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, StreamOwned, client::Resumption, pki_types::ServerName,
};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Churn,
    PingPong,
    Streaming,
    TlsHandshakes,
    TlsResumptions,
    TlsPingPong,
    TlsStreaming,
}

/// A client that is connected, or knows where to connect.
pub(crate) trait Client {
    /// Does the work once on every connection, and says how much that was, in [`Work::unit`]s.
    fn turn(&mut self) -> io::Result<u64>;
}

/// Bytes of a ping.
const PING: usize = 64;

/// Bytes that are streamed in one direction before the other is read. All of them fit into the buffers of the
/// sockets: neither side waits for a reader that is itself writing.
const STRETCH: usize = 64 * 1024;

impl Work {
    pub(crate) const ALL: [Self; 7] = [
        Self::Churn,
        Self::PingPong,
        Self::Streaming,
        Self::TlsHandshakes,
        Self::TlsResumptions,
        Self::TlsPingPong,
        Self::TlsStreaming,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Churn => "churn",
            Self::PingPong => "ping-pong",
            Self::Streaming => "streaming",
            Self::TlsHandshakes => "TLS handshakes",
            Self::TlsResumptions => "TLS resumptions",
            Self::TlsPingPong => "TLS ping-pong",
            Self::TlsStreaming => "TLS streaming",
        }
    }

    /// What [`Client::turn`] counts.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Churn | Self::TlsHandshakes | Self::TlsResumptions => "connections",
            Self::PingPong | Self::TlsPingPong => "round trips",
            Self::Streaming | Self::TlsStreaming => "bytes",
        }
    }

    pub(crate) const fn is_tls(self) -> bool {
        matches!(self, Self::TlsHandshakes | Self::TlsResumptions | Self::TlsPingPong | Self::TlsStreaming)
    }

    /// A client with so many connections at once.
    pub(crate) fn client(
        self,
        server: SocketAddr,
        tls: &Arc<ClientConfig>,
        connections: usize,
    ) -> Result<Box<dyn Client>, BoxError> {
        // From many addresses: to find a free port of a single one takes the longer, the more of them are used.
        let plain = || {
            let mut churn = Churn { server, connections, source: 0 };
            (0..connections).map(move |_| churn.open())
        };
        let sessions = || plain().map(|stream| session(stream?, tls));
        Ok(match self {
            Self::Churn => Box::new(Churn { server, connections, source: 0 }),
            Self::TlsHandshakes => {
                Box::new(Handshakes { churn: Churn { server, connections, source: 0 }, tls: tls.clone() })
            }
            Self::TlsResumptions => {
                Box::new(Resumptions::new(Churn { server, connections, source: 0 }, tls)?)
            }
            Self::PingPong => Box::new(Echoes::new(plain().collect::<Result<_, _>>()?, PING, 1)),
            Self::TlsPingPong => Box::new(Echoes::new(sessions().collect::<Result<_, _>>()?, PING, 1)),
            Self::Streaming => {
                Box::new(Echoes::new(plain().collect::<Result<_, _>>()?, STRETCH, STRETCH as u64))
            }
            Self::TlsStreaming => {
                Box::new(Echoes::new(sessions().collect::<Result<_, _>>()?, STRETCH, STRETCH as u64))
            }
        })
    }
}

/// Bytes there and back on connections that stay.
struct Echoes<S> {
    streams: Vec<S>,
    sent: Vec<u8>,
    received: Vec<u8>,
    worth: u64,
}

impl<S: Read + Write> Echoes<S> {
    fn new(streams: Vec<S>, length: usize, worth: u64) -> Self {
        let sent: Vec<u8> = (0..length).map(|position| (position % 251) as u8).collect();
        Self { streams, received: vec![0; length], sent, worth }
    }
}

impl<S: Read + Write> Client for Echoes<S> {
    fn turn(&mut self) -> io::Result<u64> {
        for stream in &mut self.streams {
            stream.write_all(&self.sent)?;
            stream.flush()?;
        }
        for stream in &mut self.streams {
            stream.read_exact(&mut self.received)?;
        }
        // Of the last one only: the servers are not tested here, but shall not win by doing nothing.
        if self.received != self.sent {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the echo is not what was sent"));
        }
        Ok(self.streams.len() as u64 * self.worth)
    }
}

/// Connect, one ping, close.
pub(crate) struct Churn {
    pub(crate) server: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) source: u32,
}

impl Churn {
    /// Connects from the next of the 65 thousand addresses in 127.1.0.0/16: closed connections keep their ports for a minute, and those of one
    /// address would run out.
    pub(crate) fn open(&mut self) -> io::Result<TcpStream> {
        self.source = (self.source + 1) % (1 << 16);
        connect(self.server, Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + self.source))
    }
}

impl Client for Churn {
    fn turn(&mut self) -> io::Result<u64> {
        let mut streams = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            let mut stream = self.open()?;
            stream.write_all(&[7; PING])?;
            streams.push(stream);
        }
        for stream in &mut streams {
            stream.read_exact(&mut [0; PING])?;
            stream.shutdown(std::net::Shutdown::Write)?;
        }
        streams.iter_mut().try_for_each(to_the_end)?;
        Ok(self.connections as u64)
    }
}

/// Connect, a full TLS handshake, close.
struct Handshakes {
    churn: Churn,
    tls: Arc<ClientConfig>,
}

impl Client for Handshakes {
    fn turn(&mut self) -> io::Result<u64> {
        let mut sessions = Vec::with_capacity(self.churn.connections);
        for _ in 0..self.churn.connections {
            let mut stream = self.churn.open()?;
            let mut session = client(&self.tls)?;
            session.write_tls(&mut stream)?;
            sessions.push((session, stream));
        }
        for (session, stream) in &mut sessions {
            session.complete_io(stream)?;
            session.send_close_notify();
            session.write_tls(stream)?;
            stream.shutdown(std::net::Shutdown::Write)?;
        }
        sessions.iter_mut().try_for_each(|(_, stream)| to_the_end(stream))?;
        Ok(self.churn.connections as u64)
    }
}

/// Connect, resume the session of the last time, close.
struct Resumptions {
    churn: Churn,
    tls: Arc<ClientConfig>,
    /// A server name for each connection: so each finds a ticket of its own, however many there are at once.
    names: Vec<ServerName<'static>>,
    /// There are sessions to resume.
    begun: bool,
}

impl Resumptions {
    fn new(churn: Churn, tls: &ClientConfig) -> Result<Self, BoxError> {
        let mut tls = tls.clone();
        // Each has room for 8 tickets of TLS 1.3.
        tls.resumption = Resumption::in_memory_sessions(churn.connections * 2 * 8);
        let names = (0..churn.connections).map(|number| ServerName::try_from(format!("{number}.localhost")));
        Ok(Self { names: names.collect::<Result<_, _>>()?, churn, tls: Arc::new(tls), begun: false })
    }
}

impl Client for Resumptions {
    fn turn(&mut self) -> io::Result<u64> {
        let mut sessions = Vec::with_capacity(self.churn.connections);
        for name in &self.names {
            let mut stream = self.churn.open()?;
            let mut session =
                ClientConnection::new(self.tls.clone(), name.clone()).map_err(io::Error::other)?;
            session.write_tls(&mut stream)?;
            sessions.push((session, stream));
        }
        for (session, stream) in &mut sessions {
            session.complete_io(stream)?;
            if self.begun && session.handshake_kind() != Some(HandshakeKind::Resumed) {
                return Err(io::Error::other("the server has not resumed a session"));
            }
            session.send_close_notify();
            session.write_tls(stream)?;
            stream.shutdown(std::net::Shutdown::Write)?;
        }
        // The tickets for the next time come after the handshake.
        for (session, stream) in &mut sessions {
            while session.read_tls(stream)? > 0 {
                session.process_new_packets().map_err(io::Error::other)?;
            }
        }
        self.begun = true;
        Ok(self.churn.connections as u64)
    }
}

fn connect(server: SocketAddr, source: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
    socket.connect(&server.into())?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

fn client(tls: &Arc<ClientConfig>) -> io::Result<ClientConnection> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    ClientConnection::new(tls.clone(), name).map_err(io::Error::other)
}

fn session(
    stream: TcpStream,
    tls: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    Ok(StreamOwned::new(client(tls)?, stream))
}

/// Reads until the server has closed the connection.
fn to_the_end(stream: &mut TcpStream) -> io::Result<()> {
    let mut rest = [0; 4096];
    while stream.read(&mut rest)? > 0 {}
    Ok(())
}
