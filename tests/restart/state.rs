//! What a program offers to its successor is what the successor takes; a state that cannot be had fails the restart, by its
//! name, and nothing has changed.

use harness::{
    Exit,
    counter::{Counter, visit},
};

#[tokio::test]
async fn state_is_handed_from_generation_to_generation() {
    let (counter, _) = Counter::new("well");
    let mut server = counter.start().await;
    for generation in 0..4 {
        for number in 1..=3 {
            assert_eq!(visit(&server).await, generation * 3 + number);
        }
        server.restart().await;
    }
    assert_eq!(visit(&server).await, 13);
}

async fn is_refused(mood: &str, reason: &str) {
    let (counter, _) = Counter::new(mood);
    let mut server = counter.start().await;
    assert_eq!(visit(&server).await, 1);
    let start = server.log().len();
    server.fail_to_restart(&["refused"]).await;
    let named = |line: &str| line.contains(r#""mood" cannot be handed on"#) && line.contains(reason);
    server.log().wait_from(start, "the state and the reason", named).await;
    assert!(server.serving().children().is_empty(), "no successor was started");
    assert_eq!(visit(&server).await, 2);
    assert_eq!(server.pid_in_file(), server.serving().pid());
    assert_eq!(server.terminate().await, Exit::Code(0));
}

#[tokio::test]
async fn state_that_fails_refuses_the_restart() {
    is_refused("state-fails", "in no mood for it").await;
}

#[tokio::test]
async fn state_that_panics_refuses_the_restart() {
    is_refused("state-panics", "panicked").await;
}

#[tokio::test]
async fn state_that_hangs_refuses_the_restart() {
    is_refused("state-hangs", "not there within 300ms").await;
}

#[tokio::test]
async fn state_that_is_too_large_refuses_the_restart() {
    is_refused("state-grows", "1025 bytes, and 1024 are the limit").await;
}
