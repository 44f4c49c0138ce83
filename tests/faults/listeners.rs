//! R10: listeners that a new configuration adds, removes, or moves to another address or kind. What is common to both is kept;
//! what is new is there from the commit on; what is gone goes when the successor has settled, and not before.

use std::path::PathBuf;

use portcullis::faults::Point;

use harness::{Client, Echo, Fault, Load, Signal, StartScript, Target, until};

use crate::{line::Line, queue::Queue};

/// A line whose first generation has these listeners beside its own.
struct Changing {
    line: Line,
    script: StartScript,
    again: String,
}

/// The URIs and the targets of listeners that come and go.
struct Places {
    tcp: (String, Target),
    unix: (String, Target),
    path: PathBuf,
}

fn places(echo: &Echo) -> Places {
    let (address, path) = (echo.place().address(6790), echo.place().path("other.sock"));
    Places {
        tcp: (format!("tcp://{address}"), Target::tcp(address)),
        unix: (format!("unix://{}", path.display()), Target::Unix(path.clone())),
        path,
    }
}

impl Changing {
    async fn start(configure: impl FnOnce(&Places) -> Vec<String>) -> (Self, Places) {
        let echo = Line::echo();
        let places = places(&echo);
        let (echo, script, _) = echo.start_script();
        let mut echo = echo;
        let first = echo.exec_line();
        for uri in configure(&places) {
            echo = echo.option("--bind", uri);
        }
        let line = Line::start(echo).await;
        (Self { line, script, again: first }, places)
    }

    /// The next generation has these listeners beside its own.
    fn next_has(&self, uris: &[&str]) {
        let binds: String = uris.iter().map(|uri| format!(" --bind {uri}")).collect();
        self.script.write(&format!("{}{binds}", self.again));
    }

    /// The next generation has this one listener.
    fn next_has_only(&self, uri: &str) {
        let own = match self.line.server.target() {
            Target::Tcp { to, .. } => format!("tcp://{to}"),
            _ => unreachable!("it began with tcp"),
        };
        self.script.write(&self.again.replace(&own, uri));
    }
}

async fn serves(target: &Target) {
    target.visit(1000).await.expect("it serves");
}

async fn is_gone(target: &Target) {
    until("nobody listens there any more", async || match target.connect().await {
        Err(Fault::Refused(_)) => Ok(()),
        other => Err(other.map(drop)),
    })
    .await;
}

async fn client(target: &Target) -> Client {
    let mut client = target.connect().await.expect("a connection");
    client.echo(1000).await.expect("an echo");
    client
}

#[tokio::test]
async fn listeners_are_added_and_removed() {
    let (mut changing, places) = Changing::start(|_| Vec::new()).await;
    let load = changing.line.load().await;
    for _ in 0..2 {
        changing.next_has(&[&places.tcp.0, &places.unix.0]);
        changing.line.restarts().await;
        let added = [&places.tcp.1, &places.unix.1];
        let mut clients = Vec::new();
        for target in added {
            serves(target).await;
            clients.push(client(target).await);
        }

        changing.next_has(&[]);
        changing.line.restarts().await;
        for target in added {
            is_gone(target).await;
        }
        assert!(!places.path.exists(), "the path goes with the listener");
        for mut client in clients {
            client.echo(1000).await.expect("who is connected is served to the end");
            client.finish().await.expect("an orderly end");
        }
    }
    load.stop().await.assert_clean(30);
}

#[tokio::test]
async fn listeners_move_to_another_address_or_kind() {
    let (mut changing, places) = Changing::start(|_| Vec::new()).await;
    let Target::Tcp { to, .. } = *changing.line.server.target() else { unreachable!("it began with tcp") };
    let first = (format!("tcp://{to}"), Target::tcp(to));
    let elsewhere = changing.line.server.place().path("elsewhere.sock");
    let elsewhere = (format!("unix://{}", elsewhere.display()), Target::Unix(elsewhere));
    // Under one name all the time: the first listener is called `echo`.
    let moves = [&places.tcp, &places.unix, &elsewhere, &first];
    let mut before = &first.1;
    for (uri, target) in moves {
        let mut held = client(before).await;
        changing.next_has_only(uri);
        changing.line.server.restart().await;
        serves(target).await;
        is_gone(before).await;
        held.echo(1000).await.expect("who is connected is served to the end");
        held.finish().await.expect("an orderly end");
        before = target;
    }
    assert!(!places.path.exists());
}

/// Nobody accepts there while the successor is on probation, and then nobody ever will: but who was let in is served.
#[tokio::test]
async fn a_listener_is_removed_while_clients_wait() {
    let (mut changing, places) =
        Changing::start(|places| vec![places.tcp.0.clone(), places.unix.0.clone()]).await;
    changing.next_has(&[]);
    let successor = changing.line.stop(Point::Probation).await;
    let (tcp, unix) = (Queue::up(&places.tcp.1).await, Queue::up(&places.unix.1).await);
    successor.signal(Signal::CONT);
    changing.line.server.follow().await;
    tcp.gets_served().await;
    unix.gets_served().await;
    is_gone(&places.tcp.1).await;
    is_gone(&places.unix.1).await;
}

/// Until the successor has settled, what it does not want any more is kept for the predecessor.
#[tokio::test]
async fn a_change_of_listeners_is_rolled_back() {
    let (mut changing, places) =
        Changing::start(|places| vec![places.tcp.0.clone(), places.unix.0.clone()]).await;
    let common = Load::on(changing.line.server.target());
    changing.next_has(&[]);
    for _ in 0..2 {
        let start = changing.line.server.log().len();
        let successor = changing.line.stop(Point::Probation).await;
        let (tcp, unix) = (Queue::up(&places.tcp.1).await, Queue::up(&places.unix.1).await);
        successor.signal(Signal::KILL);
        changing.line.comes_to_nothing(start, &["rolled_back"]).await;
        tcp.gets_served().await;
        unix.gets_served().await;
        serves(&places.tcp.1).await;
        serves(&places.unix.1).await;
    }
    common.stop().await.assert_none_turned_away(1);
    changing.line.restarts().await;
    is_gone(&places.tcp.1).await;
    is_gone(&places.unix.1).await;
}

/// A successor that is killed leaves the paths that it has bound itself. The next one takes them over.
#[tokio::test]
async fn a_path_that_a_killed_successor_bound_is_taken_over() {
    let (mut changing, places) = Changing::start(|_| Vec::new()).await;
    let load = changing.line.load().await;
    changing.next_has(&[&places.tcp.0, &places.unix.0]);
    for point in [Point::Claimed, Point::Told] {
        changing.line.fails(point, "kill", &["crashed", "rolled_back"]).await;
        is_gone(&places.tcp.1).await;
        is_gone(&places.unix.1).await;
    }
    changing.line.restarts().await;
    serves(&places.tcp.1).await;
    serves(&places.unix.1).await;
    load.stop().await.assert_clean(10);
}
