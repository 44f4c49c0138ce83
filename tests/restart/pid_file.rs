//! The pid file names the process that serves: never nobody, never one that has handed over, also after a restart
//! that failed; it goes with the last process.

use std::{
    collections::HashSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use harness::{Echo, Exit, Kind};

#[tokio::test]
async fn the_pid_file_names_each_generation() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    assert_eq!(server.pid_in_file(), server.serving().pid());
    for _ in 0..3 {
        let predecessor = server.restart().await;
        assert_eq!(server.pid_in_file(), server.serving().pid());
        // Its end takes nothing away.
        predecessor.ended().await;
        assert_eq!(server.pid_in_file(), server.serving().pid());
    }
    assert_eq!(server.terminate().await, Exit::Code(0));
    assert!(!server.pid_file().exists(), "nobody serves");
}

/// Whoever reads it, at whatever moment, finds one whole pid.
#[tokio::test]
async fn the_pid_file_names_a_process_at_every_moment() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    let over = Arc::new(AtomicBool::new(false));
    let path = server.pid_file().to_owned();
    let reading = std::thread::spawn({
        let over = over.clone();
        move || {
            let mut found = HashSet::new();
            while !over.load(Ordering::Relaxed) {
                found.insert(fs::read_to_string(&path).map_err(|error| error.kind()));
                // A reader like another: it does not take a whole processor.
                std::thread::yield_now();
            }
            found
        }
    });
    let mut served = HashSet::from([server.serving().pid()]);
    for _ in 0..5 {
        server.restart().await;
        served.insert(server.serving().pid());
    }
    over.store(true, Ordering::Relaxed);
    let found = reading.join().expect("no panic");
    for content in &found {
        let pid = content.as_ref().ok().and_then(|text| text.trim().parse().ok());
        assert!(
            pid.is_some_and(|pid| served.contains(&pid)),
            "the file once held {content:?}; served: {served:?}"
        );
    }
    assert!(found.len() > 1, "the reader has seen a change");
}

#[tokio::test]
async fn the_pid_file_stays_after_a_failed_restart() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let mut server = echo.start().await;
    script.write("exit 1");
    server.fail_to_restart(&["crashed"]).await;
    assert_eq!(server.pid_in_file(), server.serving().pid());

    // A successor that comes far before it fails: it has the sockets, and has been told the same pid file.
    let taken = server.place().address(6790);
    let _occupant = std::net::TcpListener::bind(taken).expect("an address of ours");
    script.write(&format!("{again} --bind tcp://{taken}"));
    server.fail_to_restart(&["crashed", "rejected"]).await;
    assert_eq!(server.pid_in_file(), server.serving().pid());

    script.write(&again);
    server.restart().await;
    assert_eq!(server.pid_in_file(), server.serving().pid());
}

#[tokio::test]
async fn the_pid_file_of_another_process_is_left_alone() {
    let server = Echo::new(Kind::Tcp).start().await;
    fs::write(server.pid_file(), "1\n").expect("a file of ours");
    assert_eq!(server.terminate().await, Exit::Code(0));
    assert_eq!(fs::read_to_string(server.pid_file()).expect("it is there"), "1\n");
}

#[tokio::test]
async fn a_stale_pid_file_is_replaced() {
    let echo = Echo::new(Kind::Tcp);
    fs::write(echo.place().path("echo.pid"), "999999999\n").expect("a file of ours");
    let server = echo.start().await;
    assert_eq!(server.pid_in_file(), server.serving().pid());
}

#[tokio::test]
async fn no_other_file_is_left_beside_it() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    for _ in 0..3 {
        server.restart().await;
    }
    server.alone().await;
    let beside = |server: &harness::Server| {
        let entries = fs::read_dir(server.place().directory()).expect("a directory of ours");
        entries.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>()
    };
    assert_eq!(beside(&server), ["echo.pid"]);
    assert_eq!(server.terminate().await, Exit::Code(0));
    assert!(beside(&server).is_empty());
}
