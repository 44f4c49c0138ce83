//! A restart runs what is on disk under the name that the server was started by: a binary that was replaced, a
//! symbolic link that was switched. The arguments are the same, whatever bytes they are made of, and it works in a
//! directory that is gone.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

use harness::{Echo, Exit, Kind, Process, copy_program};

/// The same arguments, and they are not the empty list.
#[track_caller]
fn same_arguments(predecessor: &[u8], successor: &Process) {
    assert!(predecessor.windows(6).any(|part| part == b"--bind"));
    assert_eq!(successor.command_line(), predecessor);
}

#[tokio::test]
async fn a_replaced_binary_runs_after_a_restart() {
    let echo = Echo::new(Kind::Tcp);
    let program = echo.place().path("echo");
    copy_program(&harness::program("echo"), &program);
    let mut server = echo.program(&program).start().await;
    let arguments = server.serving().command_line();

    // As package managers do it: the new one beside the old one, and then over it.
    let new = server.place().path("echo.new");
    copy_program(&harness::program("echo"), &new);
    fs::rename(&new, &program).expect("a directory of ours");
    let predecessor = server.restart().await;

    // The kernel marks the path of a program that was replaced under a running process.
    assert_eq!(server.serving().program(), program, "the new one runs");
    same_arguments(&arguments, server.serving());
    server.target().visit(1000).await.expect("it serves");
    predecessor.ended().await;
}

#[tokio::test]
async fn a_switched_symbolic_link_is_followed() {
    let echo = Echo::new(Kind::Tcp);
    let releases = ["one", "two"].map(|name| echo.place().path(name));
    for release in &releases {
        fs::create_dir(release).expect("a directory of ours");
        copy_program(&harness::program("echo"), &release.join("echo"));
    }
    let current = echo.place().path("current");
    symlink(&releases[0], &current).expect("a directory of ours");
    let mut server = echo.program(current.join("echo")).start().await;
    assert_eq!(server.serving().program(), releases[0].join("echo"));
    let arguments = server.serving().command_line();

    let new = server.place().path("current.new");
    symlink(&releases[1], &new).expect("a directory of ours");
    fs::rename(&new, &current).expect("a directory of ours");
    server.restart().await;

    assert_eq!(server.serving().program(), releases[1].join("echo"), "the new release runs");
    same_arguments(&arguments, server.serving());
    server.target().visit(1000).await.expect("it serves");
}

#[tokio::test]
async fn a_relative_path_is_found_again() {
    let echo = Echo::new(Kind::Tcp);
    let directory = echo.place().path("release");
    fs::create_dir(&directory).expect("a directory of ours");
    copy_program(&harness::program("echo"), &directory.join("echo"));
    let mut server = echo.directory(&directory).program("./echo").start().await;
    let arguments = server.serving().command_line();
    for _ in 0..2 {
        server.restart().await;
        assert_eq!(server.serving().program(), directory.join("echo"));
        assert_eq!(server.serving().directory(), directory);
        same_arguments(&arguments, server.serving());
    }
}

#[tokio::test]
async fn arguments_that_are_not_utf_8_are_kept() {
    let echo = Echo::new(Kind::Tcp);
    // "café" in Latin-1, which is not UTF-8.
    let pid_file = echo.place().path(Path::new(OsStr::from_bytes(b"caf\xe9.pid")));
    let mut server = echo.pid_file(&pid_file).start().await;
    let arguments = server.serving().command_line();
    for _ in 0..2 {
        let predecessor = server.restart().await;
        same_arguments(&arguments, server.serving());
        assert_eq!(server.pid_in_file(), server.serving().pid());
        // As long as it lives it is the parent, and would be told the exit code below.
        predecessor.ended().await;
    }
    assert_eq!(server.terminate().await, Exit::Code(0));
    assert!(!pid_file.exists());
}

#[tokio::test]
async fn a_deleted_directory_does_not_stop_a_restart() {
    let echo = Echo::new(Kind::Tcp);
    let directory = echo.place().path("gone");
    fs::create_dir(&directory).expect("a directory of ours");
    let mut server = echo.directory(&directory).start().await;
    fs::remove_dir(&directory).expect("it is empty");
    for _ in 0..2 {
        server.restart().await;
        server.target().visit(1000).await.expect("it serves");
    }
}

#[tokio::test]
async fn a_start_command_is_used() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let mut server = echo.start().await;
    // A new command line, for this and all later generations.
    script.write(&format!("{again} --log-level debug"));
    for _ in 0..2 {
        server.restart().await;
        let arguments = server.serving().command_line();
        assert!(arguments.ends_with(b"--log-level\0debug\0"), "{:?}", String::from_utf8_lossy(&arguments));
        server.target().visit(1000).await.expect("it serves");
    }
}
