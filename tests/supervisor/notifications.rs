//! What a supervisor is told counts if it comes from a process below it; no nonsense that such a process tells can end or
//! fill it, and no process is left for nobody to reap.

use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixDatagram},
};

use harness::{As, Exit, Process, Signal, Supervised, until};

/// Waits for the server that the supervisor has started.
async fn server(supervised: &Supervised) -> Process {
    supervised.log().wait_from(0, "that it serves", |line| line.contains("hand made: process")).await;
    Process::new(supervised.supervisor().only_child().await)
}

/// Tells the supervisor something, in the name of this process, which is not below it.
fn tell(server: &Process, text: &str) {
    let variables = server.environment();
    let address = variables.into_iter().find(|(name, _)| name == "NOTIFY_SOCKET").expect("it has one").1;
    let name = address.to_str().and_then(|address| address.strip_prefix('@')).expect("an abstract address");
    let address = SocketAddr::from_abstract_name(name).expect("an address");
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.send_to_addr(text.as_bytes(), &address).expect("everybody may send");
}

async fn a_stranger(how: As) {
    let supervised = Supervised::hand_made(how, "serve").await;
    let server = server(&supervised).await;
    let start = supervised.log().len();
    tell(&server, &format!("MAINPID={}", std::process::id()));
    tell(&server, "MAINPID=1");
    tell(&server, "STOPPING=1");
    tell(&server, "FDSTOREREMOVE=1\nFDNAME=by hand");
    let ignored = |line: &str| line.contains("a stranger has told");
    until("it has heard all four", async || match supervised.log().count_from(start, ignored) {
        4 => Ok(()),
        fewer => Err(fewer),
    })
    .await;
    // Had one of them counted, this would not be a crash, or the socket would be gone.
    server.signal(Signal::KILL);
    let passed = |line: &str| line.contains("was passed by hand");
    supervised.log().wait_from(start, "that the next one was passed the socket", passed).await;
    supervised.supervisor().signal(Signal::TERM);
    // It has no handler.
    assert_eq!(supervised.ended().await, Exit::Code(128 + 15));
}

#[tokio::test]
async fn notifications_of_a_stranger_are_ignored() {
    a_stranger(As::Process).await;
}

#[tokio::test]
#[ignore = "needs root: a PID namespace"]
async fn notifications_from_another_pid_namespace_are_ignored() {
    a_stranger(As::FirstProcess).await;
}

#[tokio::test]
async fn invalid_notifications_are_ignored() {
    let supervised = Supervised::hand_made(As::Process, "nonsense").await;
    server_among_others(&supervised).await;
    let mut client = supervised.target().connect().await.expect("it serves");
    let pid: u32 = client.ask(b"pid\n").await.parse().expect("a pid");
    let descriptors = supervised.supervisor().descriptors();
    assert!(descriptors.len() < 40, "junk is kept: {descriptors:?}");
    // And it does its work.
    Process::new(pid).signal(Signal::KILL);
    let start = supervised.log().len();
    let passed = |line: &str| line.contains("was passed") && line.contains("by hand");
    supervised.log().wait_from(start, "that the next one was passed the socket", passed).await;
}

async fn server_among_others(supervised: &Supervised) {
    supervised.log().wait_from(0, "that it serves", |line| line.contains("hand made: process")).await;
}

async fn orphans(how: As) {
    let supervised = Supervised::hand_made(how, "orphans").await;
    server(&supervised).await;
    let reaped = |line: &str| line.contains("reaped an orphan");
    until("twenty orphans were reaped", async || match supervised.log().count_from(0, reaped) {
        20 => Ok(()),
        other => Err(other),
    })
    .await;
    supervised.supervisor().only_child().await;
}

#[tokio::test]
async fn orphans_are_reaped() {
    orphans(As::Process).await;
}

#[tokio::test]
#[ignore = "needs root: a PID namespace"]
async fn orphans_are_reaped_by_the_first_process() {
    orphans(As::FirstProcess).await;
}
