//! The supervisor starts another process when the one that serves has crashed, and hands it the sockets that it has kept;
//! what fails again and again is started less and less often. What has ended on purpose is not started again.

use std::time::{Duration, Instant};

use harness::{As, Client, Exit, Process, Signal, Supervised};

/// What the server answers: its pid, or nothing if the line has ended it.
async fn say(supervised: &Supervised, line: &str) -> String {
    let mut client = supervised.target().connect().await.expect("a place in the queue");
    client.ask(format!("{line}\n").as_bytes()).await
}

/// Waits until a server is there, and says who.
async fn serving(supervised: &Supervised) -> u32 {
    supervised.log().wait_from(0, "that it serves", |line| line.contains("hand made: process")).await;
    say(supervised, "pid").await.parse().expect("a pid")
}

async fn queued(supervised: &Supervised) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(supervised.target().connect().await.expect("a place in the queue"));
    }
    clients
}

#[tokio::test]
async fn whoever_connects_meanwhile_is_served_by_the_next() {
    let supervised = Supervised::hand_made(As::Process, "serve").await;
    let first = serving(&supervised).await;
    // One in 25 ends the server that it reaches; the others wait longer or shorter.
    let clients = queued(&supervised).await;
    let mut served = 0;
    for (number, mut client) in clients.into_iter().enumerate() {
        let line: &[u8] = if number % 25 == 5 { b"abort\n" } else { b"pid\n" };
        let answer = client.ask(line).await;
        if number % 25 != 5 {
            answer.parse::<u32>().unwrap_or_else(|_| panic!("client {number} was answered {answer:?}"));
            served += 1;
        }
    }
    assert_eq!(served, 96);
    assert_ne!(serving(&supervised).await, first);
    let passed = |line: &str| line.contains("was passed by hand");
    assert_eq!(supervised.log().count_from(0, passed), 4, "each was handed the one socket");
}

#[tokio::test]
async fn a_server_is_restarted_after_every_kind_of_crash() {
    let supervised = Supervised::hand_made(As::Process, "serve").await;
    let mut earlier = serving(&supervised).await;
    for line in ["exit 7", "abort"] {
        assert_eq!(say(&supervised, line).await, "");
        let now = serving(&supervised).await;
        assert_ne!(now, earlier);
        earlier = now;
    }
    for signal in [Signal::KILL, Signal::TERM] {
        let process = Process::new(earlier);
        process.signal(signal);
        process.ended().await;
        earlier = serving(&supervised).await;
    }
}

#[tokio::test]
async fn a_socket_that_is_not_to_be_kept_is_bound_anew() {
    let supervised = Supervised::hand_made(As::Process, "serve").await;
    serving(&supervised).await;
    let start = supervised.log().len();
    assert_eq!(say(&supervised, "forget").await, "");
    let bound = |line: &str| line.contains("hand made: process") && line.contains("was passed nothing");
    supervised.log().wait_from(start, "that it was passed nothing", bound).await;
}

#[tokio::test]
async fn what_fails_again_and_again_is_backed_off_and_can_be_ended() {
    let supervised = Supervised::hand_made(As::Process, "once").await;
    serving(&supervised).await;
    let begun = Instant::now();
    assert_eq!(say(&supervised, "exit 7").await, "");
    let pause = |pause: &'static str| move |line: &str| line.contains(&format!("pause={pause}"));
    for longer in ["100ms", "200ms", "400ms", "800ms"] {
        supervised.log().wait_from(0, longer, pause(longer)).await;
    }
    // 100, 200 and 400 ms are over.
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    // The socket is kept all the time.
    let mut waiting = supervised.target().connect().await.expect("a place in the queue");
    let begun = Instant::now();
    supervised.supervisor().signal(Signal::TERM);
    assert_eq!(supervised.ended().await, Exit::Code(1), "nobody served");
    assert!(begun.elapsed() < Duration::from_millis(700), "it does not wait: {:?}", begun.elapsed());
    waiting.wait_for_end().await;
}

#[tokio::test]
async fn the_first_server_must_be_ready_once() {
    let supervised = Supervised::hand_made(As::Process, "fail").await;
    assert_eq!(supervised.ended().await, Exit::Code(3));
}

#[tokio::test]
async fn a_server_that_has_finished_is_not_started_again() {
    let supervised = Supervised::hand_made(As::Process, "finish").await;
    assert_eq!(supervised.ended().await, Exit::Code(0));
}

#[tokio::test]
async fn a_server_that_others_stopped_is_not_started_again() {
    let supervised = Supervised::hand_made(As::Process, "serve").await;
    serving(&supervised).await;
    assert_eq!(say(&supervised, "exit 0").await, "");
    assert_eq!(supervised.ended().await, Exit::Code(0));

    let supervised = Supervised::hand_made(As::Process, "serve").await;
    serving(&supervised).await;
    assert_eq!(say(&supervised, "stop").await, "");
    assert_eq!(supervised.ended().await, Exit::Code(7), "its own exit code");
}

/// That `exec` has failed is told, however many descriptors the program was to have.
#[tokio::test]
async fn a_program_that_is_gone_is_started_when_it_is_back() {
    for mode in ["serve", "many"] {
        let supervised = Supervised::copied(mode).await;
        serving(&supervised).await;
        let (program, away) = (supervised.place().path("program"), supervised.place().path("away"));
        std::fs::rename(&program, &away).expect("a directory of ours");
        assert_eq!(say(&supervised, "exit 7").await, "");
        supervised.log().wait_from(0, "cannot start", |line| line.contains("cannot start")).await;
        let mut waiting = supervised.target().connect().await.expect("a place in the queue");
        std::fs::rename(&away, &program).expect("a directory of ours");
        let pid: u32 = waiting.ask(b"pid\n").await.parse().expect("a pid");
        assert_eq!(supervised.supervisor().only_child().await, pid);
    }
}
