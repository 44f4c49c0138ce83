//! A first generation takes the sockets that the service manager opened for it, and believes nothing: `sd_listen_fds(3)`.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::PathBuf,
};

use harness::{Client, Echo, Ended, Exit, Kind, MARK, Server, Signal, Target, identity, until};

fn listener(echo: &Echo) -> TcpListener {
    TcpListener::bind(echo.place().address(6789)).expect("an address of ours")
}

/// How often the server holds the socket.
fn held(server: &Server, inode: u64) -> usize {
    let socket = PathBuf::from(format!("socket:[{inode}]"));
    server.serving().descriptors().into_values().filter(|path| *path == socket).count()
}

/// A visitor that waits in the queue before anybody serves, and is served; then a restart, and another visitor.
async fn is_served(echo: Echo, mut waiting: Client) -> Server {
    let sent = waiting.send(1000).await.expect("bytes are taken");
    let mut server = echo.start().await;
    waiting.expect(&sent).await.expect("it is served");
    waiting.finish().await.expect("an orderly end");
    let predecessor = server.restart().await;
    server.target().visit(1000).await.expect("the next generation inherits it");
    predecessor.ended().await;
    server
}

#[tokio::test]
async fn a_tcp_socket_is_taken_by_its_name() {
    let echo = Echo::new(Kind::Tcp);
    let listener = listener(&echo);
    let waiting = echo.target().connect().await.expect("it listens");
    let inode = identity(&listener);
    let server = is_served(echo.pass("echo", listener), waiting).await;
    assert_eq!(held(&server, inode), 1);
    assert_eq!(server.terminate().await, Exit::Code(0));
}

#[tokio::test]
async fn a_tcp_socket_is_taken_by_its_address() {
    let echo = Echo::new(Kind::Tcp);
    let listener = listener(&echo);
    let waiting = echo.target().connect().await.expect("it listens");
    let inode = identity(&listener);
    let server = is_served(echo.pass("web.socket", listener), waiting).await;
    assert_eq!(held(&server, inode), 1);
}

/// It belongs to the `.socket` unit, which goes on listening.
#[tokio::test]
async fn a_unix_socket_is_taken_and_its_path_left_alone() {
    let echo = Echo::new(Kind::Unix);
    let Target::Unix(path) = echo.target().clone() else { panic!("a Unix path") };
    let listener = UnixListener::bind(&path).expect("a path of ours");
    let kept = listener.try_clone().expect("a descriptor");
    let waiting = echo.target().connect().await.expect("it listens");
    let server = is_served(echo.pass("echo", listener), waiting).await;
    assert_eq!(server.terminate().await, Exit::Code(0));
    assert!(path.exists(), "the manager still listens there");
    server.target().connect().await.expect("it still listens");
    drop(kept);
}

#[tokio::test]
async fn several_sockets_of_one_name_are_told_apart_by_their_addresses() {
    let echo = Echo::new(Kind::Tcp);
    let other = echo.place().address(6790);
    let (first, second) = (listener(&echo), TcpListener::bind(other).expect("an address of ours"));
    let inodes = [identity(&first), identity(&second)];
    let echo = echo.option("--bind", format!("tcp://{other}"));
    let server = echo.pass("web.socket", second).pass("web.socket", first).start().await;
    server.target().visit(1000).await.expect("it serves");
    Target::tcp(other).visit(1000).await.expect("it serves");
    assert_eq!(inodes.map(|inode| held(&server, inode)), [1, 1]);
}

#[tokio::test]
async fn what_nobody_asks_for_is_closed_and_told() {
    let echo = Echo::new(Kind::Tcp);
    let (listener, stray) = (listener(&echo), TcpListener::bind(echo.place().address(6790)).expect("ours"));
    let udp = UdpSocket::bind(echo.place().address(6791)).expect("ours");
    let file: OwnedFd = fs::File::open("/dev/null").expect("a device").into();
    let inodes = [identity(&stray), identity(&udp)];
    let server =
        echo.pass("stray", stray).pass("udp", udp).pass("null", file).pass("echo", listener).start().await;
    server.target().visit(1000).await.expect("it serves");
    for (name, what) in [
        ("name=\"stray\"", "no listener asked for"),
        ("`udp`", "an IPv4 datagram socket"),
        ("`null`", "a device"),
    ] {
        let told = |line: &str| line.contains(name) && line.contains(what) && line.contains("closed");
        server.log().wait_from(0, what, told).await;
    }
    assert_eq!(inodes.map(|inode| held(&server, inode)), [0, 0]);
}

#[tokio::test]
async fn what_is_meant_for_another_process_is_left_alone() {
    let echo = Echo::new(Kind::Tcp);
    // Under the name of a listener, and it would be an error to take it.
    let stray = TcpListener::bind(echo.place().address(6790)).expect("an address of ours");
    let inode = identity(&stray);
    let server = echo.pass("echo", stray).started_by("env", &["LISTEN_PID=1"]).start().await;
    server.target().visit(1000).await.expect("it serves");
    assert_eq!(held(&server, inode), 1, "it is not the server's to close");
    assert_eq!(server.terminate().await, Exit::Code(0));
}

/// R11. What carries a listener's name and cannot be it is not passed over.
#[tokio::test]
async fn a_descriptor_that_cannot_be_the_listener_is_named_in_the_error() {
    let udp = |echo: &Echo| OwnedFd::from(UdpSocket::bind(echo.place().address(6789)).expect("ours"));
    let elsewhere = |echo: &Echo| TcpListener::bind(echo.place().address(6790)).expect("ours").into();
    let connected = |echo: &Echo| {
        let listener = listener(echo);
        let client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        OwnedFd::from(client)
    };
    type Made<'a> = &'a dyn Fn(&Echo) -> OwnedFd;
    let cases: [(Made<'_>, &[&str]); 3] = [
        (&udp, &["`echo`", "an IPv4 datagram socket", "ListenStream="]),
        (&elsewhere, &["`echo`", ":6790", ":6789", "agree"]),
        (&connected, &["`echo`", "does not listen", "Accept=no"]),
    ];
    for (descriptor, words) in cases {
        let echo = Echo::new(Kind::Tcp);
        let descriptor = descriptor(&echo);
        let Ended { exit, said: log } = echo.pass("echo", descriptor).run_to_its_end().await;
        assert_eq!(exit, Exit::Code(1), "{log}");
        assert!(words.iter().all(|word| log.contains(word)), "{words:?}: {log}");
    }
}

/// Neither a child of the server nor its successor, which has another pid, is given what was meant for the first generation.
#[tokio::test]
async fn neither_children_nor_the_successor_are_activated() {
    let echo = Echo::new(Kind::Tcp);
    let listener = listener(&echo);
    let socket = PathBuf::from(format!("socket:[{}]", identity(&listener)));
    let mut server = echo.pass("echo", listener).start().await;
    let variables = |server: &Server| {
        let names: Vec<_> = server.serving().environment().into_iter().map(|(name, _)| name).collect();
        ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(|name| names.iter().any(|it| it == name))
    };
    assert_eq!(variables(&server), [true; 3]);
    let descriptors = server.serving().descriptors();
    let taken = descriptors.iter().find(|(_, path)| **path == socket).map(|(descriptor, _)| *descriptor);
    let taken = taken.expect("the server holds it");
    assert_eq!(server.serving().is_close_on_exec(taken), Some(true));
    server.restart().await;
    assert_eq!(variables(&server), [false; 3]);
}

/// systemd-socket-activate(1) starts the program at the first connection.
async fn is_activated(echo: Echo, options: &[&str]) {
    let target = echo.target().clone();
    // It hands on a few variables, and those that it is told to.
    let options: Vec<&str> = ["-E", MARK].iter().chain(options).copied().collect();
    let echo = echo.started_by("systemd-socket-activate", &options);
    let arriving = until("systemd-socket-activate listens", async || target.connect().await);
    let (mut server, mut first) = tokio::join!(echo.start(), arriving);
    first.echo(1000).await.expect("it is served");
    let taken = |line: &str| {
        line.contains("listening") && line.contains("listener=\"echo\"") && line.contains("inherited=true")
    };
    server.log().wait_from(0, "it takes the socket", taken).await;
    let predecessor = server.restart().await;
    server.target().visit(1000).await.expect("the next generation inherits it");
    first.finish().await.expect("an orderly end");
    predecessor.ended().await;
    server.serving().signal(Signal::TERM);
    assert_eq!(server.serving().ended().await, Exit::Code(0));
    if let Target::Unix(path) = server.target() {
        assert!(path.exists(), "the path is not the server's to remove");
    }
}

#[tokio::test]
#[ignore = "needs systemd-socket-activate"]
async fn systemd_activates_it_over_tcp() {
    for name in [None, Some("--fdname=echo"), Some("--fdname=other")] {
        let echo = Echo::new(Kind::Tcp);
        let address = echo.place().address(6789).to_string();
        let options: Vec<&str> = ["-l", &address].into_iter().chain(name).collect();
        is_activated(echo, &options).await;
    }
}

#[tokio::test]
#[ignore = "needs systemd-socket-activate"]
async fn systemd_activates_it_over_a_unix_path() {
    let echo = Echo::new(Kind::Unix);
    let Target::Unix(path) = echo.target().clone() else { panic!("a Unix path") };
    let path = path.to_str().expect("text");
    is_activated(echo, &["-l", path, "--fdname=echo"]).await;
}
