//! A drain serves what was accepted or waits in the queue, ends at its deadline, and can be watched until then.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use portcullis::{
    Accepted, Generation, GracefulListener, Phase,
    layers::{
        Connection, LocalAddress,
        metrics::MetricsLayer,
        tls::{TlsLayer, rustls},
        track::TrackLayer,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tower::{ServiceBuilder, service_fn};

const SOON: Duration = Duration::from_secs(20);

async fn generation(drain_timeout: Duration) -> Generation {
    Generation::builder().signals(false).drain_timeout(drain_timeout).start().await.unwrap()
}

fn listen(generation: &Generation, name: &str) -> (GracefulListener, SocketAddr) {
    let listener = generation.listen(name, "tcp://127.0.0.1:0").unwrap();
    let LocalAddress::Ip(address) = *listener.local_address() else { panic!("not a port") };
    (listener, address)
}

async fn echo_byte<C: Connection>(mut connection: C) -> io::Result<()> {
    while let Ok(byte) = connection.read_u8().await {
        connection.write_u8(byte).await?;
    }
    Ok(())
}

async fn assert_echoes(client: &mut TcpStream, byte: u8) {
    client.write_u8(byte).await.unwrap();
    assert_eq!(timeout(SOON, client.read_u8()).await.expect("an answer").unwrap(), byte);
}

#[tokio::test]
async fn what_is_open_at_the_deadline_is_cut_off_and_counted() {
    let generation = generation(Duration::from_millis(50)).await;
    let (listener, address) = listen(&generation, "echo");
    let serving = tokio::spawn(listener.serve(service_fn(echo_byte::<Accepted>)));
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = TcpStream::connect(address).await.unwrap();
        assert_echoes(&mut client, 1).await;
        clients.push(client);
    }
    generation.drain();
    assert_eq!(timeout(SOON, serving).await.unwrap().unwrap().unwrap().forced, 3);
    for mut client in clients {
        assert!(timeout(SOON, client.read_u8()).await.expect("an end").is_err());
    }
}

/// A client can tell that the server has chosen this end, and nobody in between.
#[tokio::test]
async fn what_is_open_over_tls_at_the_deadline_ends_with_close_notify() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = TlsLayer::builder()
        .certificate_pem(pair.cert.pem(), pair.signing_key.serialize_pem())
        .build()
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(tls.config().crypto_provider().clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let generation = generation(Duration::from_millis(50)).await;
    let (listener, address) = listen(&generation, "echo");
    let stack = ServiceBuilder::new()
        .layer(MetricsLayer::new("echo"))
        .layer(TrackLayer::new(generation.tracker()))
        .layer(tls)
        .service_fn(echo_byte);
    let serving = tokio::spawn(listener.serve(stack));
    let connector = TlsConnector::from(Arc::new(config));
    let io = TcpStream::connect(address).await.unwrap();
    let mut client =
        timeout(SOON, connector.connect("localhost".try_into().unwrap(), io)).await.unwrap().unwrap();
    client.write_u8(1).await.unwrap();
    assert_eq!(timeout(SOON, client.read_u8()).await.unwrap().unwrap(), 1);
    generation.drain();
    let rest = timeout(SOON, client.read_to_end(&mut Vec::new())).await.expect("an end");
    assert_eq!(rest.expect("no close_notify"), 0);
    assert_eq!(timeout(SOON, serving).await.unwrap().unwrap().unwrap().forced, 1);
}

#[tokio::test]
async fn a_stream_that_its_service_moved_elsewhere_is_waited_for() {
    let generation = generation(SOON).await;
    let (listener, address) = listen(&generation, "echo");
    let (moved, mut elsewhere) = mpsc::unbounded_channel();
    let stack =
        ServiceBuilder::new().layer(TrackLayer::new(generation.tracker())).service_fn(move |connection| {
            std::future::ready(moved.send(connection).map_err(|_| "nobody takes it"))
        });
    let mut serving = tokio::spawn(listener.serve(stack));
    let mut client = TcpStream::connect(address).await.unwrap();
    let stream = timeout(SOON, elsewhere.recv()).await.unwrap().unwrap();
    generation.drain();
    let drained = timeout(Duration::from_millis(200), &mut serving).await;
    assert!(drained.is_err(), "a stream is open, and the drain is over");
    let echoing = tokio::spawn(echo_byte(stream));
    assert_echoes(&mut client, 7).await;
    drop(client);
    echoing.await.unwrap().unwrap();
    assert_eq!(timeout(SOON, serving).await.unwrap().unwrap().unwrap().forced, 0);
}

#[tokio::test]
async fn a_connection_that_waits_in_the_queue_is_served_by_a_drain() {
    let generation = generation(SOON).await;
    let (listener, address) = listen(&generation, "echo");
    // Held back, so that nobody accepts when the client comes.
    let delay = generation.delay_readiness();
    let serving = tokio::spawn(listener.serve(service_fn(echo_byte::<Accepted>)));
    let mut client = TcpStream::connect(address).await.unwrap();
    generation.drain();
    assert_echoes(&mut client, 9).await;
    drop((client, delay));
    assert_eq!(timeout(SOON, serving).await.unwrap().unwrap().unwrap().forced, 0);
}

#[tokio::test]
async fn what_waits_behind_a_limit_is_served_by_a_drain_and_newcomers_are_refused() {
    let generation = generation(SOON).await;
    let (listener, address) = listen(&generation, "echo");
    let stack = ServiceBuilder::new().concurrency_limit(1).service_fn(echo_byte::<Accepted>);
    let serving = tokio::spawn(listener.serve(stack));
    let mut first = TcpStream::connect(address).await.unwrap();
    assert_echoes(&mut first, 1).await;
    let mut waiting =
        [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];

    generation.drain();
    timeout(SOON, generation.phases().wait_for(|phase| *phase == Phase::Draining)).await.unwrap().unwrap();
    // The socket is closed when all that waited was taken.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    drop(first);
    for client in &mut waiting {
        assert_echoes(client, 2).await;
        client.shutdown().await.unwrap();
        assert!(timeout(SOON, client.read_u8()).await.expect("its turn is over").is_err());
    }
    assert_eq!(timeout(SOON, serving).await.unwrap().unwrap().unwrap().forced, 0);
}

#[tokio::test]
async fn a_listener_that_tells_of_the_drain_accepts_until_it_is_over() {
    let generation = generation(SOON).await;
    let (listener, address) = listen(&generation, "echo");
    let (admin, admin_address) = listen(&generation, "admin");
    let phases = generation.phases();
    let tell = move |mut connection: Accepted| {
        let phase = *phases.borrow();
        async move { connection.write_all(phase.as_str().as_bytes()).await }
    };
    let serving = tokio::spawn(listener.serve(service_fn(echo_byte::<Accepted>)));
    let telling = tokio::spawn(admin.accept_while_draining().serve(service_fn(tell)));
    let mut client = TcpStream::connect(address).await.unwrap();
    assert_echoes(&mut client, 1).await;

    generation.drain();
    timeout(SOON, generation.phases().wait_for(|phase| *phase == Phase::Draining)).await.unwrap().unwrap();
    let mut told = String::new();
    let mut asking = TcpStream::connect(admin_address).await.unwrap();
    timeout(SOON, asking.read_to_string(&mut told)).await.unwrap().unwrap();
    assert_eq!(told, "draining");

    assert_echoes(&mut client, 2).await;
    drop(client);
    for ended in [serving, telling] {
        assert_eq!(timeout(SOON, ended).await.unwrap().unwrap().unwrap().forced, 0);
    }
    assert!(TcpStream::connect(admin_address).await.is_err(), "the admin has closed as well");
}

/// The pid file is on a file system that does not answer: here, a pipe whose reader waits for a writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pid_file_that_cannot_be_read_delays_the_end_of_a_drain_by_a_moment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pid");
    let generation = Generation::builder().signals(false).pid_file(&path).start().await.unwrap();
    let (listener, _) = listen(&generation, "echo");
    let serving = tokio::spawn(listener.serve(service_fn(echo_byte::<Accepted>)));
    harness::until("the pid file is written", async || if path.exists() { Ok(()) } else { Err("none") })
        .await;
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();

    generation.drain();
    let drained = timeout(Duration::from_secs(5), serving).await;
    // Lets the reader go, which the end of the runtime waits for.
    drop(std::fs::OpenOptions::new().write(true).open(&path).unwrap());
    assert_eq!(drained.expect("the drain ends").unwrap().unwrap().forced, 0);
}
