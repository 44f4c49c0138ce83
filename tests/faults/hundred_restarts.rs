//! R14: a hundred restarts in a row, under load. Nothing is refused, reset or lost; and nothing adds up: descriptors, threads,
//! zombies, files, the environment, memory.

use std::{collections::BTreeMap, ffi::OsString, fs};

use harness::{Echo, Kind, Load, Server, until};

const RESTARTS: u32 = 100;

/// What one generation has, at rest.
#[derive(Debug, PartialEq, Eq)]
struct Footprint {
    /// Descriptors, by what they are.
    descriptors: BTreeMap<String, usize>,
    /// Bytes of the environment.
    environment: usize,
    files: Vec<OsString>,
    children: Vec<u32>,
}

/// Memory, in bytes, and threads: both come and go a little.
#[derive(Debug)]
struct Size {
    memory: usize,
    threads: usize,
}

/// One that is as large as this is not larger.
const MEMORY_TOLERANCE: usize = 4 * 1024 * 1024;
/// Threads for blocking work.
const THREADS_TOLERANCE: usize = 2;

fn footprint(server: &Server) -> Footprint {
    let mut descriptors = BTreeMap::new();
    for path in server.serving().descriptors().values() {
        let path = path.to_string_lossy();
        let kind = match path.split_once(":[") {
            Some((kind @ ("socket" | "pipe"), _)) => kind.to_owned(),
            _ => path.into_owned(),
        };
        *descriptors.entry(kind).or_insert(0) += 1;
    }
    // The number of the handoff socket may have a digit more.
    let environment =
        server.serving().environment().into_iter().filter(|(name, _)| name != "PORTCULLIS_HANDOFF");
    let environment = environment.map(|(name, value)| name.len() + value.len()).sum();
    let files = fs::read_dir(server.place().directory()).expect("a directory of ours");
    let mut files: Vec<_> = files.flatten().map(|entry| entry.file_name()).collect();
    files.sort();
    Footprint { descriptors, environment, files, children: server.serving().children() }
}

/// Without clients and older generations.
async fn at_rest(server: &Server) -> (Footprint, Size) {
    server.alone().await;
    until("it is at rest", async || {
        // Whoever looks at the older generations lets go of those that are gone.
        server.metrics().await;
        let before = footprint(server);
        tokio::task::yield_now().await;
        let no_clients = server.get("/connections").await.body == "[]";
        if no_clients && before == footprint(server) { Ok(()) } else { Err(before) }
    })
    .await;
    let size = Size { memory: server.serving().memory(), threads: server.serving().threads() };
    (footprint(server), size)
}

async fn load(server: &Server) -> Load {
    let mut load = Load::on(server.target());
    load.hold().await;
    load.more(50).await;
    load
}

#[tokio::test]
async fn a_hundred_restarts_lose_nothing_and_leave_nothing() {
    // One client stays with the generation that accepted it, for as long as all of this takes.
    let mut server = Echo::new(Kind::Tcp).option("--drain-timeout", "600s").start().await;
    // The second is the first that has inherited anything.
    server.restart().await;
    load(&server).await.stop().await.assert_clean(50);
    let (before, size_before) = at_rest(&server).await;

    let load = load(&server).await;
    for _ in 0..RESTARTS {
        server.restart().await;
        load.more(1).await;
    }
    load.more(50).await;
    load.stop().await.assert_clean(200);
    let (after, size_after) = at_rest(&server).await;
    assert_eq!(after, before);
    assert!(
        size_after.memory <= size_before.memory + MEMORY_TOLERANCE,
        "{size_after:?}, {size_before:?} before"
    );
    assert!(
        size_after.threads <= size_before.threads + THREADS_TOLERANCE,
        "{size_after:?}, {size_before:?} before"
    );
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("portcullis_generation", &[]), f64::from(RESTARTS + 2));
}
