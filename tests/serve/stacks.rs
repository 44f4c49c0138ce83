//! What a program may build from the library: layers in any order, tower's own among them, plain streams, an executor
//! of its own.

use std::{
    cell::Cell,
    io,
    os::fd::AsRawFd,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portcullis::{
    Accepted, Executor, Generation, GracefulListener, ListenError, Phase, ServeError,
    layers::{
        Connection, LocalAddress, allowlist::AllowlistLayer, metrics::MetricsLayer, tls::MaybeTlsLayer,
        track::TrackLayer,
    },
};
use rustix::{
    fs::OFlags,
    io::{FdFlags, fcntl_setfd},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tower::{BoxError, ServiceBuilder, service_fn};

const SOON: Duration = Duration::from_secs(20);

async fn generation() -> Generation {
    Generation::builder().signals(false).start().await.unwrap()
}

fn listen(generation: &Generation) -> (GracefulListener, std::net::SocketAddr) {
    let listener = generation.listen("echo", "tcp://127.0.0.1:0").unwrap();
    let LocalAddress::Ip(address) = *listener.local_address() else { panic!("not a port") };
    (listener, address)
}

async fn echo<C: Connection>(mut connection: C) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let length = connection.read(&mut buffer).await?;
        if length == 0 {
            return connection.shutdown().await;
        }
        connection.write_all(&buffer[..length]).await?;
    }
}

async fn assert_echoes(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let echoed = async {
        stream.write_all(b"through all layers").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).await.unwrap();
        assert_eq!(back, "through all layers");
    };
    timeout(SOON, echoed).await.expect("an answer");
}

#[tokio::test]
async fn every_layer_is_optional_and_towers_own_fit_in_any_place() {
    let generation = generation().await;
    let (listener, address) = listen(&generation);
    let stack = ServiceBuilder::new()
        .concurrency_limit(100)
        .layer(MetricsLayer::new("echo"))
        .option_layer(Some(AllowlistLayer::new(["127.0.0.0/8".parse().unwrap()])))
        .load_shed()
        .concurrency_limit(50)
        .layer(MaybeTlsLayer::from(None))
        .timeout(SOON)
        .layer(TrackLayer::new(generation.tracker()).listener("echo"))
        .map_request(|connection| connection)
        .service_fn(echo);
    let serving = tokio::spawn(listener.serve(stack));
    assert_echoes(TcpStream::connect(address).await.unwrap()).await;
    generation.drain();
    assert_eq!(timeout(SOON, serving).await.unwrap().unwrap().unwrap().forced, 0);
}

#[tokio::test]
async fn a_plain_service_of_tcp_streams_is_served_below_layers_that_do_not_alter_the_stream() {
    let generation = generation().await;
    let (listener, address) = listen(&generation);
    let stack = ServiceBuilder::new()
        .layer(AllowlistLayer::new(["127.0.0.0/8".parse().unwrap()]))
        .service(service_fn(echo::<TcpStream>));
    let serving = tokio::spawn(listener.serve_tcp(stack));
    assert_echoes(TcpStream::connect(address).await.unwrap()).await;
    generation.drain();
    timeout(SOON, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_unix_path_is_served_and_a_stack_for_tcp_is_refused_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo.sock");
    let uri = format!("unix://{}", path.display());
    let generation = generation().await;
    let wrong = generation.listen("echo", uri.as_str()).unwrap();
    let error = wrong.serve_tcp(service_fn(echo::<TcpStream>)).await.unwrap_err();
    assert!(matches!(&error, ServeError::Transport { wanted: "tcp", .. }), "{error}");

    std::fs::remove_file(&path).unwrap();
    let generation = Generation::builder().signals(false).start().await.unwrap();
    let listener = generation.listen("echo", uri.as_str()).unwrap();
    let serving = tokio::spawn(listener.serve_unix(service_fn(echo::<UnixStream>)));
    assert_echoes(UnixStream::connect(&path).await.unwrap()).await;
    generation.drain();
    timeout(SOON, serving).await.unwrap().unwrap().unwrap();
    assert!(!path.exists(), "the path goes with the last of its line");
}

#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Counting {
    fn execute(&self, connection: F) {
        self.0.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(connection);
    }
}

#[tokio::test]
async fn connections_run_on_the_executor_that_was_given() {
    let generation = generation().await;
    let (listener, address) = listen(&generation);
    let executor = Counting::default();
    let serving = tokio::spawn(listener.executor(executor.clone()).serve(service_fn(echo::<Accepted>)));
    for _ in 0..3 {
        assert_echoes(TcpStream::connect(address).await.unwrap()).await;
    }
    generation.drain();
    timeout(SOON, serving).await.unwrap().unwrap().unwrap();
    assert_eq!(executor.0.load(Ordering::SeqCst), 3);
}

/// Runs connections on the thread that accepts them.
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, connection: F) {
        tokio::task::spawn_local(connection);
    }
}

#[tokio::test]
async fn a_local_executor_runs_a_stack_that_is_not_send() {
    let served = Rc::new(Cell::new(0));
    let generation = generation().await;
    let (listener, address) = listen(&generation);
    let stack = service_fn({
        let served = served.clone();
        move |connection: Accepted| {
            let served = served.clone();
            async move {
                served.set(served.get() + 1);
                echo(connection).await
            }
        }
    });
    tokio::task::LocalSet::new()
        .run_until(async {
            let serving = tokio::task::spawn_local(listener.executor(Local).serve(stack));
            for _ in 0..3 {
                assert_echoes(TcpStream::connect(address).await.unwrap()).await;
            }
            generation.drain();
            timeout(SOON, serving).await.unwrap().unwrap().unwrap();
        })
        .await;
    assert_eq!(served.get(), 3);
}

#[tokio::test]
async fn a_socket_that_listens_already_is_served() {
    let generation = generation().await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = generation.listen_on("echo", socket).unwrap();
    assert_eq!(listener.local_address(), &LocalAddress::Ip(address));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(matches!(generation.listen_on("echo", taken), Err(ListenError::Duplicate { .. })));
    let serving = tokio::spawn(listener.serve(service_fn(echo::<Accepted>)));
    assert_echoes(TcpStream::connect(address).await.unwrap()).await;
    generation.drain();
    timeout(SOON, serving).await.unwrap().unwrap().unwrap();
}

/// Its children would keep it open, and with it the port.
#[tokio::test]
async fn a_socket_that_listens_already_is_closed_in_children() {
    let generation = generation().await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    fcntl_setfd(&socket, FdFlags::empty()).unwrap();
    let info = format!("/proc/self/fdinfo/{}", socket.as_raw_fd());
    let close_on_exec = || {
        let info = std::fs::read_to_string(&info).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        u32::from_str_radix(flags, 8).unwrap() & OFlags::CLOEXEC.bits() != 0
    };
    assert!(!close_on_exec());
    let _listener = generation.listen_on("echo", socket).unwrap();
    assert!(close_on_exec());
}

#[tokio::test]
async fn a_limit_in_the_stack_leaves_connections_in_the_queue_and_all_are_served() {
    let generation = generation().await;
    let (listener, address) = listen(&generation);
    let (most, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stack = ServiceBuilder::new().concurrency_limit(2).service_fn({
        let (most, open) = (most.clone(), open.clone());
        move |connection: Accepted| {
            let (most, open) = (most.clone(), open.clone());
            async move {
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let result = echo(connection).await;
                open.fetch_sub(1, Ordering::SeqCst);
                result
            }
        }
    });
    let serving = tokio::spawn(listener.serve(stack));
    let clients: Vec<_> = (0..20)
        .map(|_| tokio::spawn(async move { assert_echoes(TcpStream::connect(address).await.unwrap()).await }))
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
    generation.drain();
    timeout(SOON, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_stack_that_takes_no_more_ends_its_listener_with_its_error() {
    let generation = generation().await;
    let (listener, _) = listen(&generation);
    let stack = tower::util::MapFuture::new(Broken, |future| future);
    let error = timeout(SOON, listener.serve(stack)).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ServeError::Service { source, .. } if source.to_string() == "broken"),
        "{error}"
    );
}

struct Broken;

impl tower::Service<Accepted> for Broken {
    type Response = ();
    type Error = BoxError;
    type Future = std::future::Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Err("broken".into()))
    }

    fn call(&mut self, _: Accepted) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

#[tokio::test]
async fn a_generation_that_is_held_does_not_accept_until_it_is_released() {
    let generation = generation().await;
    let (listener, address) = listen(&generation);
    let delay = generation.delay_readiness();
    let serving = tokio::spawn(listener.serve(service_fn(echo::<Accepted>)));
    let waiting =
        tokio::spawn(async move { assert_echoes(TcpStream::connect(address).await.unwrap()).await });
    let mut phases = generation.phases();
    assert!(timeout(Duration::from_millis(100), phases.changed()).await.is_err(), "held");
    assert_eq!(generation.phase(), Phase::Starting);
    drop(delay);
    timeout(SOON, phases.wait_for(|phase| *phase == Phase::Serving)).await.unwrap().unwrap();
    waiting.await.unwrap();
    generation.drain();
    timeout(SOON, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_name_is_given_to_one_listener_alone() {
    let generation = generation().await;
    let (_listener, _) = listen(&generation);
    let error = generation.listen("echo", "tcp://127.0.0.1:0").unwrap_err();
    assert!(matches!(&error, ListenError::Duplicate { name, .. } if name == "echo"), "{error}");
}

#[tokio::test]
async fn a_listener_that_fails_before_it_is_served_keeps_its_generation_from_being_ready() {
    let generation = generation().await;
    let (listener, _) = listen(&generation);
    let failed = generation.listen("other", "tcp://127.0.0.1:0").unwrap();
    let serving = tokio::spawn(listener.serve(service_fn(echo::<Accepted>)));
    let mut phases = generation.phases();
    drop(failed);
    assert!(timeout(Duration::from_millis(200), phases.changed()).await.is_err(), "half a server is none");
    generation.drain();
    timeout(SOON, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_listener_that_is_closed_on_purpose_does_not() {
    let generation = generation().await;
    let (listener, address) = listen(&generation);
    generation.listen("other", "tcp://127.0.0.1:0").unwrap().close();
    let serving = tokio::spawn(listener.serve(service_fn(echo::<Accepted>)));
    assert_echoes(TcpStream::connect(address).await.unwrap()).await;
    generation.drain();
    timeout(SOON, serving).await.unwrap().unwrap().unwrap();
    let late = generation.listen("late", "tcp://127.0.0.1:0").unwrap_err();
    assert!(matches!(late, ListenError::TooLate { .. }), "{late}");
}
