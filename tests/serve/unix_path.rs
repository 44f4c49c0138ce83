//! Who may have the path of a Unix socket: a stale one is taken over, a live server and a regular file are not touched,
//! and what somebody else has put there since is left alone.

use std::{fs, os::unix::net::UnixListener, path::PathBuf, sync::Arc};

use harness::{Echo, Exit, Kind, Place, inode};

/// A server, the path that it is going to bind, and what keeps the directory around it.
fn echo() -> (Echo, PathBuf, Arc<Place>) {
    let echo = Echo::new(Kind::Unix);
    let place = echo.place().clone();
    let path = place.path("echo.sock");
    (echo, path, place)
}

#[tokio::test]
async fn a_unix_path_is_kept_through_restarts_and_removed_at_the_end() {
    let (echo, path, _place) = echo();
    let mut server = echo.start().await;
    let ours = inode(&path);
    for _ in 0..3 {
        let predecessor = server.restart().await;
        predecessor.ended().await;
        assert_eq!(inode(&path), ours, "it is the same socket");
        server.target().visit(1000).await.expect("it serves");
    }
    assert_eq!(server.terminate().await, Exit::Code(0));
    assert!(!path.exists(), "nobody serves");
}

#[tokio::test]
async fn a_stale_unix_path_is_taken_over() {
    let (echo, path, _place) = echo();
    // std does not remove the path.
    drop(UnixListener::bind(&path).expect("a directory of ours"));
    assert!(path.exists());
    let server = echo.start().await;
    server.target().visit(1000).await.expect("it serves");
}

#[tokio::test]
async fn a_unix_path_that_a_killed_server_left_is_taken_over() {
    let (echo, path, _place) = echo();
    let server = echo.start().await;
    server.serving().signal(harness::Signal::KILL);
    server.serving().ended().await;
    assert!(path.exists());
    let other = Echo::bare().option("--bind", format!("unix://{}", path.display()));
    let admin = format!("tcp://{}", other.admin());
    let _other = other.option("--admin", admin).start().await;
    server.target().visit(1000).await.expect("another one serves");
}

#[tokio::test]
async fn the_unix_path_of_a_live_server_is_refused() {
    let (echo, path, _place) = echo();
    let other = UnixListener::bind(&path).expect("a directory of ours");
    let theirs = inode(&path);
    echo.run_to_its_end().await.refused_for(&path);
    assert_eq!(inode(&path), theirs);
    std::os::unix::net::UnixStream::connect(&path).expect("it still listens");
    drop(other);
}

#[tokio::test]
async fn a_regular_file_is_refused() {
    let (echo, path, _place) = echo();
    fs::write(&path, "precious").expect("a file of ours");
    echo.run_to_its_end().await.refused_for(&path);
    assert_eq!(fs::read_to_string(&path).expect("the file is there"), "precious");
}

#[tokio::test]
async fn what_somebody_else_put_there_is_left_alone() {
    let (echo, path, _place) = echo();
    let mut server = echo.start().await;
    server.restart().await;
    fs::remove_file(&path).expect("a directory of ours");
    let _other = UnixListener::bind(&path).expect("a directory of ours");
    let theirs = inode(&path);

    // Neither the end of a predecessor nor a full stop touches it.
    let predecessor = server.restart().await;
    predecessor.ended().await;
    assert_eq!(inode(&path), theirs);
    assert_eq!(server.terminate().await, Exit::Code(0));
    assert_eq!(inode(&path), theirs);
}
