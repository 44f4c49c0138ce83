//! The service manager keeps the listening sockets, so that they outlive every generation: a crash, `systemctl restart`.

use std::{fs, net::TcpListener};

use harness::{Echo, Exit, Kind, Manager, Signal, Target, identity, until};

const ECHO: &str = "portcullis.echo";
const ADMIN: &str = "portcullis.admin";

/// A server whose manager keeps its sockets, and the means to start it again.
struct Watched {
    echo: Echo,
    manager: Manager,
}

impl Watched {
    fn new(echo: Echo) -> Self {
        let path = echo.place().path("notify");
        Self { manager: Manager::at(&path), echo: echo.variable("NOTIFY_SOCKET", path) }
    }

    /// The same again, with what the manager has kept, as `LISTEN_FDS`.
    fn again(&self) -> Echo {
        self.with_kept(self.echo.clone())
    }

    fn with_kept(&self, echo: Echo) -> Echo {
        self.manager.kept().into_iter().fold(echo, |echo, (name, descriptor)| echo.pass(&name, descriptor))
    }
}

async fn visitors_wait_and_are_served_by_the_next(kind: Kind, end: Signal) {
    let watched = Watched::new(Echo::new(kind));
    let server = watched.echo.clone().start().await;
    watched.manager.keeps(&[ADMIN, ECHO]).await;
    server.serving().signal(end);
    server.serving().ended().await;

    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut client = server.target().connect().await.expect("somebody still holds the socket");
        let sent = client.send(1000).await.expect("bytes are taken");
        waiting.push((client, sent));
    }
    let next = watched.again().start().await;
    for (mut client, sent) in waiting {
        client.expect(&sent).await.expect("it is served");
        client.finish().await.expect("an orderly end");
    }
    next.target().visit(1000).await.expect("and so are others");
    // It is a first generation as any other.
    let mut next = next;
    next.restart().await;
    next.target().visit(1000).await.expect("it serves");
    assert_eq!(watched.manager.kept().len(), 2, "nothing is kept twice");
}

#[tokio::test]
async fn a_tcp_queue_survives_a_crash() {
    visitors_wait_and_are_served_by_the_next(Kind::Tcp, Signal::KILL).await;
}

#[tokio::test]
async fn a_unix_queue_survives_a_crash() {
    visitors_wait_and_are_served_by_the_next(Kind::Unix, Signal::KILL).await;
}

/// What `systemctl restart` does: stop, then start.
#[tokio::test]
async fn a_tcp_socket_survives_a_stop() {
    visitors_wait_and_are_served_by_the_next(Kind::Tcp, Signal::TERM).await;
}

#[tokio::test]
async fn a_unix_path_survives_a_stop() {
    visitors_wait_and_are_served_by_the_next(Kind::Unix, Signal::TERM).await;
}

#[tokio::test]
async fn sockets_of_a_later_generation_are_kept_too() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let watched = Watched::new(echo);
    let mut server = watched.echo.clone().start().await;
    let kept = watched.manager.keeps(&[ADMIN, ECHO]).await;

    // A listener comes, and goes.
    let more = server.place().address(6790);
    script.write(&format!("{again} --bind tcp://{more}"));
    server.restart().await;
    let grown = watched.manager.keeps(&[ADMIN, ECHO, "portcullis.echo-2"]).await;
    assert_eq!(identity(&grown[0].1), identity(&kept[0].1), "the same socket is not taken twice");
    script.write(&again);
    server.restart().await;
    watched.manager.keeps(&[ADMIN, ECHO]).await;
    drop(grown);
    let refused = async || match Target::tcp(more).connect().await {
        Err(_) => Ok(()),
        Ok(_) => Err("somebody holds the socket"),
    };
    until("the listener that is gone is closed", refused).await;
}

#[tokio::test]
async fn a_listener_that_moved_is_kept_where_it_is_now() {
    let watched = Watched::new(Echo::new(Kind::Tcp));
    let server = watched.echo.clone().start().await;
    let before = watched.manager.keeps(&[ADMIN, ECHO]).await;
    let before = before.iter().find(|(name, _)| name == ECHO).map(|(_, socket)| identity(socket));
    server.serving().signal(Signal::KILL);
    server.serving().ended().await;

    let address = server.place().address(6791);
    let start = watched.manager.len();
    let moved = watched.with_kept(watched.echo.clone().moved(address)).start().await;
    watched.manager.ready_from(start, moved.serving()).await;
    moved.target().visit(1000).await.expect("it serves at its new address");
    let closed = |line: &str| line.contains("no listener asked for") && line.contains("name=\"echo\"");
    moved.log().wait_from(0, "the old one is closed", closed).await;
    until("the manager keeps the new one alone", async || {
        let kept = watched.manager.kept();
        let echo: Vec<_> = kept.iter().filter(|(name, _)| name == ECHO).map(|(_, it)| identity(it)).collect();
        if echo.len() == 1 && Some(echo[0]) != before { Ok(()) } else { Err(echo) }
    })
    .await;
}

/// The store and the `.socket` unit may hold one socket between them.
#[tokio::test]
async fn a_socket_that_comes_twice_is_held_once() {
    let echo = Echo::new(Kind::Tcp);
    let listener = TcpListener::bind(echo.place().address(6789)).expect("an address of ours");
    let inode = identity(&listener);
    let copy = listener.try_clone().expect("a descriptor");
    let server = echo.pass(ECHO, copy).pass("echo", listener).start().await;
    server.target().visit(1000).await.expect("it serves");
    let held = |path: &std::path::PathBuf| *path == std::path::Path::new(&format!("socket:[{inode}]"));
    assert_eq!(server.serving().descriptors().into_values().filter(held).count(), 1);
}

/// Nobody could connect to it: the path is bound anew.
#[tokio::test]
async fn a_kept_socket_whose_path_is_gone_is_not_used() {
    let watched = Watched::new(Echo::new(Kind::Unix));
    let server = watched.echo.clone().start().await;
    watched.manager.keeps(&[ADMIN, ECHO]).await;
    assert_eq!(server.terminate().await, Exit::Code(0));
    let Target::Unix(path) = server.target() else { panic!("a Unix path") };
    fs::remove_file(path).expect("it is left in place");

    let next = watched.again().start().await;
    next.log().wait_from(0, "its path is gone", |line| line.contains("whose path is gone")).await;
    next.target().visit(1000).await.expect("it serves");
}

/// Who starts next asks there whether somebody serves, and must not wait for an answer from a socket that is merely kept.
#[tokio::test]
async fn the_control_socket_is_not_kept() {
    for end in [Signal::KILL, Signal::TERM] {
        let echo = Echo::new(Kind::Tcp);
        let path = echo.place().path("control");
        let watched = Watched::new(echo.option("--takeover", path));
        let server = watched.echo.clone().start().await;
        watched.manager.keeps(&[ADMIN, ECHO]).await;
        server.serving().signal(end);
        server.serving().ended().await;
        let next = watched.again().start().await;
        next.target().visit(1000).await.expect("it serves");
    }
}
