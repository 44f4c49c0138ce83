//! Many clients that do not finish their handshake, and one that does: the limits of handshakes in progress.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use portcullis_layers::{
    BoxError, Outcome, RejectReason,
    tls::{
        HandshakeFailure, HandshakeLimits, TlsBuilder, TlsLayer, TlsStream,
        rustls::{pki_types::UnixTime, time_provider::TimeProvider, version::TLS13},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tower::{Layer, Service, service_fn};

use crate::{
    certificates::Authority,
    ends::{client, connect, server},
    within::within,
};

/// Longer than any test lasts: whoever is silent stays.
const NEVER: Duration = Duration::from_secs(3600);
/// Addresses of clients.
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A server that greets whoever comes, and serves until the client closes.
struct Greeter {
    authority: Authority,
    address: SocketAddr,
    /// Why connections ended, in the order in which they did.
    endings: mpsc::UnboundedReceiver<Result<(), BoxError>>,
    accepting: JoinHandle<()>,
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Greeter {
    async fn new(build: impl FnOnce(TlsBuilder) -> TlsBuilder) -> Self {
        let authority = Authority::new("a CA");
        let layer = build(server(&authority).handshake_timeout(NEVER)).build().unwrap();
        Self::with(authority, &layer).await
    }

    async fn capped(total: usize, per_peer: usize) -> Self {
        Self::new(|builder| builder.handshake_limits(HandshakeLimits::new(total, per_peer))).await
    }

    async fn with(authority: Authority, layer: &TlsLayer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut stack = layer.layer(service_fn(|mut stream: TlsStream<TcpStream>| async move {
            stream.write_all(b"hello").await?;
            stream.read_to_end(&mut Vec::new()).await?;
            Ok::<(), BoxError>(())
        }));
        let (tell, endings) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tell, served) = (tell.clone(), stack.call(stream));
                connections.spawn(async move { tell.send(served.await) });
            }
        });
        Self { authority, address, endings, accepting }
    }

    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        within(socket.connect(self.address)).await.unwrap()
    }

    /// A client that does everything right, and is served.
    async fn honest(&self, from: Ipv4Addr) -> tokio_rustls::client::TlsStream<TcpStream> {
        let io = self.connect(from).await;
        let mut stream = connect(&Arc::new(client(&self.authority, &TLS13, None)), io).await.unwrap();
        within(stream.read_exact(&mut [0; 5])).await.unwrap();
        stream
    }

    async fn ending(&mut self) -> Outcome {
        let result = within(self.endings.recv()).await.unwrap();
        Outcome::of(result.as_ref().map(drop).map_err(|error| &**error as _))
    }

    /// Comes, and is turned away for this reason.
    async fn turned_away(&mut self, from: Ipv4Addr, reason: RejectReason) {
        let mut io = self.connect(from).await;
        assert_eq!(self.ending().await, Outcome::Rejected(reason));
        assert_eq!(within(io.read(&mut [0])).await.unwrap(), 0, "nothing is said");
    }
}

fn is_open(io: &TcpStream) -> bool {
    io.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn forty_silent_and_twenty_garbage_clients_do_not_delay_an_honest_one() {
    let greeter = Greeter::new(|builder| builder).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(greeter.connect(HERE).await);
    }
    let mut garbage = Vec::new();
    for _ in 0..20 {
        let mut io = greeter.connect(HERE).await;
        io.write_all(&[b'x'; 1000]).await.unwrap();
        garbage.push(io);
    }
    let here = greeter.honest(HERE).await;
    let there = greeter.honest(THERE).await;
    assert!(silent.iter().all(is_open), "the silent ones have made room");
    drop((silent, garbage, here, there));
}

#[tokio::test]
async fn one_peer_cannot_take_all_the_handshakes() {
    let mut greeter = Greeter::capped(60, 40).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(greeter.connect(HERE).await);
    }
    for _ in 0..20 {
        greeter.turned_away(HERE, RejectReason::LimitPeer).await;
    }
    greeter.honest(THERE).await;
    assert!(silent.iter().all(is_open));
    // There is room for as many as have left.
    drop(silent.pop());
    while greeter.ending().await != Outcome::HandshakeFailed(HandshakeFailure::EofEmpty) {}
    greeter.honest(HERE).await;
}

#[tokio::test]
async fn all_peers_together_have_so_many_handshakes() {
    let mut greeter = Greeter::capped(2, 2).await;
    let (one, _other) = (greeter.connect(HERE).await, greeter.connect(THERE).await);
    for from in [HERE, THERE, Ipv4Addr::new(127, 0, 0, 4)] {
        greeter.turned_away(from, RejectReason::LimitTotal).await;
    }
    drop(one);
    assert_eq!(greeter.ending().await, Outcome::HandshakeFailed(HandshakeFailure::EofEmpty));
    greeter.honest(THERE).await;
}

/// The limits are not those of connections.
#[tokio::test]
async fn a_handshake_that_is_complete_makes_room() {
    let greeter = Greeter::capped(1, 1).await;
    let mut served = Vec::new();
    for _ in 0..5 {
        served.push(greeter.honest(HERE).await);
    }
}

/// A client that was refused and stays holds its slot until it was told, which is bounded in time.
#[tokio::test]
async fn a_client_that_is_being_told_why_it_failed_still_counts() {
    let mut greeter = Greeter::capped(1, 1).await;
    let mut garbage = greeter.connect(HERE).await;
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    within(garbage.read_exact(&mut [0; 7])).await.unwrap();
    greeter.turned_away(HERE, RejectReason::LimitTotal).await;
    // It does not leave; but nobody waits for ever.
    assert_eq!(greeter.ending().await, Outcome::HandshakeFailed(HandshakeFailure::NotTls));
    greeter.honest(HERE).await;
    drop(garbage);
}

#[tokio::test]
async fn a_handshake_that_took_too_long_makes_room() {
    let mut greeter = Greeter::new(|builder| {
        builder.handshake_limits(HandshakeLimits::new(1, 1)).handshake_timeout(Duration::from_millis(200))
    })
    .await;
    let silent = greeter.connect(HERE).await;
    assert_eq!(greeter.ending().await, Outcome::HandshakeFailed(HandshakeFailure::Timeout));
    // Another one that is late was not turned away. (An honest one might be late as well, on a busy machine.)
    let another = greeter.connect(HERE).await;
    assert_eq!(greeter.ending().await, Outcome::HandshakeFailed(HandshakeFailure::Timeout));
    drop((silent, another));
}

/// A clock that stops the server once.
#[derive(Debug, Default)]
struct Broken(AtomicBool);

impl TimeProvider for Broken {
    fn current_time(&self) -> Option<UnixTime> {
        assert!(self.0.swap(true, Ordering::Relaxed), "a test's panic");
        Some(UnixTime::now())
    }
}

#[tokio::test]
async fn a_handshake_that_panicked_makes_room() {
    let greeter = Greeter::new(|builder| {
        builder.handshake_limits(HandshakeLimits::new(1, 1)).time_provider(Arc::new(Broken::default()))
    })
    .await;
    let io = greeter.connect(HERE).await;
    let unlucky = connect(&Arc::new(client(&greeter.authority, &TLS13, None)), io).await;
    if let Ok(mut unlucky) = unlucky {
        within(unlucky.read_exact(&mut [0; 5])).await.unwrap_err();
    }
    greeter.honest(HERE).await;
}

#[tokio::test]
async fn a_handshake_that_was_dropped_makes_room() {
    let authority = Authority::new("a CA");
    let layer = server(&authority).handshake_limits(HandshakeLimits::new(1, 1)).build().unwrap();
    let mut stack = layer.layer(service_fn(|_: TlsStream<TcpStream>| async { Ok::<(), BoxError>(()) }));
    let (_client, accepted) = crate::ends::tcp().await;
    let under_way = stack.call(accepted);
    let (_client, accepted) = crate::ends::tcp().await;
    let error = within(stack.call(accepted)).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&RejectReason::LimitTotal));
    drop(under_way);
    // Clones of the layer share what they count.
    Greeter::with(authority, &layer.clone()).await.honest(HERE).await;
}
