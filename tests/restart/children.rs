//! A child inherits the handoff socket if it is the successor, and no other descriptor; nothing grows from
//! generation to generation; a handoff variable that has leaked means nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
};

use harness::{Echo, Exit, Kind, Process, Server, Signal, Target, program, until};
use nix::{sys::stat::Mode, unistd::mkfifo};

/// What a process holds, by kind: `socket`, `anon_inode:[eventpoll]`, a path. Numbers of inodes differ anyway.
fn kinds(process: &Process) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for path in process.descriptors().values() {
        let path = path.to_string_lossy();
        let kind = match path.split_once(":[") {
            Some((kind @ ("socket" | "pipe"), _)) => kind.to_owned(),
            _ => path.into_owned(),
        };
        *kinds.entry(kind).or_insert(0) += 1;
    }
    kinds
}

fn variables(process: &Process) -> BTreeSet<OsString> {
    process.environment().into_iter().map(|(name, _)| name).collect()
}

fn files(server: &Server) -> BTreeSet<OsString> {
    let entries = fs::read_dir(server.place().directory()).expect("a directory of ours");
    entries.flatten().map(|entry| entry.file_name()).collect()
}

#[tokio::test]
async fn every_descriptor_is_closed_on_exec() {
    for kind in [Kind::Tcp, Kind::Unix, Kind::Tls] {
        let mut server = Echo::new(kind).start().await;
        for _ in 0..3 {
            let mut client = server.target().connect().await.expect("a connection");
            client.echo(100).await.expect("an echo");
            server.serving().assert_nothing_inheritable();
            let predecessor = server.restart().await;
            predecessor.assert_nothing_inheritable();
        }
    }
}

#[tokio::test]
async fn the_successor_inherits_the_handoff_socket_alone() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let mut server = echo.start().await;
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(100).await.expect("an echo");

    // Before it becomes the server, the script stops at a gate, and can be looked at.
    let gate = server.place().path("gate");
    mkfifo(&gate, Mode::S_IRWXU).expect("a directory of ours");
    script.write(&format!("read _ < {}\n{again}", gate.display()));
    server.serving().signal(Signal::USR1);
    let successor = Process::new(server.serving().only_child().await);
    let left_open = Process::left_open();
    let sockets = until("the script runs", async || {
        let runs = successor.program() != server.serving().program();
        let mut sockets = successor.sockets();
        sockets.retain(|socket| !left_open.values().any(|left| left == socket));
        if runs && !sockets.is_empty() { Ok(sockets) } else { Err(successor.descriptors()) }
    })
    .await;
    assert_eq!(sockets.len(), 1, "one socket: {:?}", successor.descriptors());
    assert!(sockets.is_disjoint(&server.serving().sockets()), "and it is none of the server's own");

    tokio::task::spawn_blocking(move || fs::write(gate, "\n"))
        .await
        .expect("no panic")
        .expect("the reader is there");
    server.follow().await;
}

#[tokio::test]
async fn environment_and_files_stay_the_same() {
    let mut server = Echo::new(Kind::Tls).start().await;
    // The second generation is the first that has inherited anything.
    server.restart().await;
    server.alone().await;
    let before = (variables(server.serving()), files(&server));
    for _ in 0..10 {
        server.restart().await;
    }
    server.alone().await;
    assert_eq!((variables(server.serving()), files(&server)), before);
}

#[tokio::test]
async fn descriptors_and_threads_stay_the_same() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    server.restart().await;
    server.alone().await;
    let at_rest = async |server: &Server| {
        until("it is at rest", async || {
            let (before, threads) = (kinds(server.serving()), server.serving().threads());
            tokio::task::yield_now().await;
            let after = kinds(server.serving());
            let no_clients = server.get("/connections").await.body == "[]";
            // It lets go of the predecessor and of its page a moment after the predecessor is gone.
            let pages = after.iter().filter(|(kind, _)| kind.contains("portcullis metrics"));
            let own_page_alone = pages.map(|(_, count)| count).sum::<usize>() == 1;
            let no_process = !after.contains_key("anon_inode:[pidfd]");
            if before == after && no_clients && own_page_alone && no_process {
                Ok((before, threads))
            } else {
                Err(after)
            }
        })
        .await
    };
    let (descriptors, threads) = at_rest(&server).await;
    for _ in 0..10 {
        server.restart().await;
        server.target().visit(1000).await.expect("an echo");
    }
    server.alone().await;
    until("the twelfth generation holds what the second held", async || {
        let now = kinds(server.serving());
        if now == descriptors { Ok(()) } else { Err((now, &descriptors)) }
    })
    .await;
    // Threads for blocking work come and go; they must not add up.
    assert!(
        server.serving().threads() <= threads + 2,
        "{} threads, {threads} before",
        server.serving().threads()
    );
}

#[tokio::test]
async fn a_leaked_handoff_variable_starts_a_first_generation() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    let before = variables(server.serving());
    server.restart().await;
    let leaked: Vec<_> =
        server.serving().environment().into_iter().filter(|(name, _)| !before.contains(name)).collect();
    assert!(!leaked.is_empty(), "the handoff socket is named in the environment");

    let mut echo = Echo::new(Kind::Tcp);
    for (name, value) in leaked {
        echo = echo.variable(name, value);
    }
    // `start` waits for generation 1.
    let mut other = echo.start().await;
    other.target().visit(1000).await.expect("it serves");
    // And it can be restarted in its turn.
    let predecessor = other.restart().await;
    other.target().visit(1000).await.expect("it serves");
    // As long as it lives it is the parent, and would be told the exit code.
    predecessor.ended().await;
    assert_eq!(other.terminate().await, Exit::Code(0));
}

/// Not even if it has the socket, too: the variable is meant for one process alone, and that is the script.
#[tokio::test]
async fn a_child_of_the_successor_starts_a_first_generation() {
    let (echo, script, _) = Echo::new(Kind::Tcp).option("--ready-timeout", "2s").start_script();
    let mut server = echo.start().await;
    let address = server.place().address(6790);
    let options = format!("--bind tcp://{address} --admin tcp://{}", server.place().address(9101));
    // Without `exec`: the script stays, and the echo server is its child.
    script.write(&format!("{} {options} &\nwait", program("echo").display()));

    let start = server.log().len();
    server.fail_to_restart(&["timed_out"]).await;
    let first = |line: &str| line.contains("serving") && line.contains("generation=1");
    server.log().wait_from(start, "serving generation=1, of the child", first).await;
    Target::tcp(address).visit(1000).await.expect("it serves on its own");
    server.target().visit(1000).await.expect("and so does the server, as before");
    assert_eq!(server.metrics().await.sum("portcullis_generation", &[]), 1.0);
}
