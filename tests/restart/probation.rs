//! A successor that fails its health check on probation stops accepting, and its predecessor accepts again by itself. Nobody notices:
//! what queued is served, and who is connected to the sick one is served to the end.

use std::{fs, path::Path};

use harness::{
    Exit, Process, Server, Signal,
    counter::{Counter, leave, number, visit},
    until, within,
};

/// A restart whose successor is in this mood is rolled back, for this reason.
async fn is_rolled_back(mood: &str, reason: &str) {
    let (counter, moods) = Counter::new("well");
    let mut server = counter.start().await;
    let first = server.serving().pid();
    assert_eq!(visit(&server).await, 1);

    moods.is(mood);
    let start = server.log().len();
    server.fail_to_restart(&["rolled_back"]).await;
    let told = |line: &str| line.contains("restart failed") && line.contains(reason);
    assert_eq!(server.log().count_from(start, told), 1, "the reason is in the log, once");
    assert_eq!(server.pid_in_file(), first, "the pid file names who serves");
    assert_eq!(visit(&server).await, 2, "the predecessor serves, and counts on");
    server.serving().no_child_left().await;

    moods.is("well");
    server.restart().await;
    assert_eq!(visit(&server).await, 3);
}

#[tokio::test]
async fn a_successor_whose_check_fails_is_replaced() {
    is_rolled_back("check-fails", "the database does not answer").await;
}

#[tokio::test]
async fn a_successor_whose_check_panics_is_replaced() {
    is_rolled_back("check-panics", "the health check panicked").await;
}

#[tokio::test]
async fn a_successor_whose_check_takes_too_long_is_replaced() {
    is_rolled_back("check-hangs", "not done within 200ms").await;
}

/// A restart whose successor serves, and waits for the verdict of its health check.
async fn on_probation(server: &Server) -> Process {
    let first = server.serving().pid();
    server.serving().signal(Signal::USR1);
    let pid = until("another process serves", async || match server.pid_in_file() {
        pid if pid == first => Err(pid),
        pid => Ok(pid),
    })
    .await;
    Process::new(pid)
}

async fn say(verdict: &'static str, gate: &Path) {
    // Opening a fifo waits for the reader.
    let gate = gate.to_owned();
    let said = tokio::task::spawn_blocking(move || fs::write(gate, verdict));
    within("the check reads", said).await.expect("no panic").expect("a fifo of ours");
}

#[tokio::test]
async fn connections_of_an_unhealthy_successor_are_finished() {
    let (counter, moods) = Counter::new("well");
    let (gate, waiting) = counter.gate();
    let mut server = counter.start().await;
    moods.is(&waiting);
    let start = server.log().len();
    let sick = on_probation(&server).await;
    let mut client = server.target().connect().await.expect("the successor accepts");
    assert_eq!(number(&mut client).await, 1);

    say("sick", &gate).await;
    server.log().wait_from(start, "rolled back", |line| line.contains("rolled_back")).await;
    assert_eq!(visit(&server).await, 1, "the predecessor accepts again");
    assert!(!sick.is_over(), "it still has a connection");
    leave(client).await;
    assert_ne!(sick.ended().await, Exit::Code(0), "it did not do what it was started for");
    moods.is("well");
    server.restart().await;
}

#[tokio::test]
async fn a_check_lengthens_the_probation() {
    let (counter, moods) = Counter::new("well");
    let (gate, waiting) = counter.gate();
    let mut server = counter.start().await;
    moods.is(&waiting);
    let start = server.log().len();
    let successor = on_probation(&server).await;
    assert_eq!(visit(&server).await, 1, "it serves meanwhile");

    // The predecessor stands by, and a second deploy waits for the end of the probation.
    successor.signal(Signal::USR1);
    let remembered = |line: &str| line.contains("a restart is requested, and follows the one under way");
    server.log().wait_from(start, "a restart is remembered", remembered).await;
    assert!(!server.serving().is_over());
    moods.is("well");
    say("healthy", &gate).await;
    let predecessor = server.follow().await;
    assert_eq!(predecessor.ended().await, Exit::Code(0));
    let second = server.follow().await;
    assert_eq!(second.pid(), successor.pid(), "it ran the restart that was requested of it");
    assert_eq!(second.ended().await, Exit::Code(0));
    server.restart().await;
}
