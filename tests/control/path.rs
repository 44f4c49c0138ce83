//! The control path has one owner: it is its user's alone, kept through restarts and removed at the end; a stale one is
//! taken over, a regular file and another program's socket are not touched, and what somebody else put there is left alone.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use harness::{Echo, Exit, Kind, Place, Signal, inode};
use portcullis::{Generation, ListenError};

/// A server, its control path, and what keeps the directory around it.
fn echo() -> (Echo, PathBuf, Arc<Place>) {
    let echo = Echo::new(Kind::Tcp).controlled();
    let (path, place) = (echo.control(), echo.place().clone());
    (echo, path, place)
}

#[tokio::test]
async fn the_control_path_is_kept_through_restarts_and_removed_at_the_end() {
    let (echo, path, _place) = echo();
    let mut server = echo.start().await;
    let ours = inode(&path);
    let mode = fs::symlink_metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "its user's alone");
    for _ in 0..3 {
        let predecessor = server.restart().await;
        predecessor.ended().await;
        assert_eq!(inode(&path), ours, "it is the same socket");
        server.ctl(&["status"]).await.done();
    }
    assert_eq!(server.terminate().await, Exit::Code(0));
    assert!(!path.exists(), "nobody serves");
}

#[tokio::test]
async fn a_control_path_that_a_killed_server_left_is_taken_over() {
    let (echo, path, _place) = echo();
    let again = echo.clone();
    let server = echo.start().await;
    server.serving().signal(Signal::KILL);
    server.serving().ended().await;
    assert!(path.exists());
    let server = again.start().await;
    assert!(server.ctl(&["status"]).await.done().contains("generation 1"));
}

#[tokio::test]
async fn a_regular_file_is_refused() {
    let (echo, path, _place) = echo();
    fs::write(&path, "precious").expect("a file of ours");
    echo.fail_to_start().await.refused_for(&path);
    assert_eq!(fs::read_to_string(&path).expect("the file is there"), "precious");
}

#[tokio::test]
async fn the_socket_of_another_program_is_refused() {
    let (echo, path, _place) = echo();
    let other = UnixListener::bind(&path).expect("a directory of ours");
    let theirs = inode(&path);
    // It says something else, hangs up at once, or says nothing.
    let answering = std::thread::spawn(move || {
        let (mut first, _) = other.accept().expect("a connection");
        first.write_all(b"220 mail.example.org ESMTP\r\n").expect("bytes are taken");
        _ = first.read_to_end(&mut Vec::new());
        drop(first);
        other
    });
    echo.clone().fail_to_start().await.refused_for(&path);
    let other = answering.join().expect("no panic");
    echo.clone().option("--ready-timeout", "200ms").fail_to_start().await.refused_for(&path);

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let hanging_up = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            drop(other.accept());
        }
        other
    });
    echo.fail_to_start().await.refused_for(&path);
    stop.store(true, Ordering::Relaxed);
    // So that it looks.
    drop(UnixStream::connect(&path));
    let _other = hanging_up.join().expect("no panic");
    assert_eq!(inode(&path), theirs);
}

#[tokio::test]
async fn what_somebody_else_put_there_is_left_alone() {
    let (echo, path, _place) = echo();
    let mut server = echo.start().await;
    fs::remove_file(&path).expect("a directory of ours");
    let _other = UnixListener::bind(&path).expect("a directory of ours");
    let theirs = inode(&path);
    let predecessor = server.restart().await;
    predecessor.ended().await;
    assert_eq!(inode(&path), theirs);
    assert_eq!(server.terminate().await, Exit::Code(0));
    assert_eq!(inode(&path), theirs);
}

/// Nor is its name: a listener of the program cannot have it, whether there is a control path or not.
#[tokio::test]
async fn the_name_of_the_control_path_is_reserved() {
    let generation = Generation::builder().signals(false).start().await.expect("it starts");
    let refused = generation.listen("control", "tcp://127.0.0.1:0").map(drop);
    assert!(matches!(refused, Err(ListenError::Reserved { .. })), "{refused:?}");
}

/// A successor may have another control path, or none; the old one then goes with the restart.
#[tokio::test]
async fn a_control_path_is_removed_when_the_successor_has_another() {
    let (echo, script, again) = Echo::new(Kind::Tcp).controlled().start_script();
    let (path, other) = (echo.control(), echo.place().path("other.sock"));
    let mut server = echo.start().await;
    let (path_text, other_text) = (path.to_str().expect("text"), other.to_str().expect("text"));

    script.write(&again.replace(path_text, other_text));
    server.restart().await.ended().await;
    assert!(!path.exists() && other.exists(), "the new one is in its place");
    let told = harness::Ctl::new(&other).ask(&["status"]).await;
    assert!(told.done().contains("generation 2"), "{told:?}");

    script.write(&again.replace(&format!("--takeover {path_text}"), ""));
    server.restart().await.ended().await;
    assert!(!path.exists() && !other.exists(), "nobody serves them");
    server.target().visit(1000).await.expect("the server serves");
}
