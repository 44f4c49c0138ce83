//! The log is on standard error, or in the file that was named, which all generations append to; and it is as
//! talkative as was asked for.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use harness::{Echo, Exit, Kind, Signal, until};
use portcullis::Generation;

/// Waits until the file has a line with all these words.
async fn told(file: &Path, words: &[&str]) {
    until(&format!("the log file tells {words:?}"), async || {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.lines().any(|line| words.iter().all(|word| line.contains(word))) { Ok(()) } else { Err(text) }
    })
    .await;
}

async fn all_generations_append_to(file: &Path, echo: Echo) {
    fs::write(file, "what was there before\n").expect("a file of ours");
    let server = echo.start_silently().await;
    told(file, &["serving", "generation=1"]).await;
    server.serving().signal(Signal::USR1);
    told(file, &["serving", "generation=2"]).await;
    told(file, &["restart succeeded"]).await;
    assert_eq!(server.serving().ended().await, Exit::Code(0), "the first one is done");

    let text = fs::read_to_string(file).expect("the file is there");
    assert!(text.starts_with("what was there before\n"), "{text}");
    assert!(!text.contains('\x1b'), "a file has no colours: {text}");
    let on_standard_error = server.log().text();
    assert!(!on_standard_error.contains("generation="), "it is in the file alone: {on_standard_error}");
}

#[tokio::test]
async fn the_log_goes_to_the_file_of_the_option() {
    let echo = Echo::new(Kind::Tcp);
    let file = echo.place().path("echo.log");
    all_generations_append_to(&file, echo.option("--log-file", &file)).await;
}

#[tokio::test]
async fn the_log_goes_to_the_file_of_the_environment() {
    let echo = Echo::new(Kind::Tcp);
    let file = echo.place().path("echo.log");
    all_generations_append_to(&file, echo.variable("LOG_PATH", &file)).await;
}

#[tokio::test]
async fn the_log_has_the_level_that_was_asked_for() {
    let quiet = Echo::new(Kind::Tcp).option("--log-level", "error").start_silently().await;
    quiet.target().visit(100).await.expect("it serves");
    assert_eq!(quiet.terminate().await, Exit::Code(0));
    for word in [" INFO ", " DEBUG "] {
        assert!(!quiet.log().text().contains(word), "{}", quiet.log().text());
    }

    let talkative = Echo::new(Kind::Tcp).variable("LOG_LEVEL", "debug").start().await;
    talkative.target().visit(100).await.expect("it serves");
    talkative.log().wait_from(0, "something at level DEBUG", |line| line.contains(" DEBUG ")).await;
}

/// Whoever reads the log may go away; the server must still do as it is told.
#[tokio::test]
async fn a_server_whose_log_nobody_reads_any_more_obeys() {
    let place = harness::Place::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let server = std::process::Command::new(harness::program("echo"))
        .args(["--bind", &format!("tcp://{}", place.address(6789))])
        .args(["--admin", &format!("tcp://{}", place.address(9100))])
        .stdout(std::process::Stdio::null())
        .stderr(writer)
        .spawn()
        .expect("it starts");
    let mut server = KilledOnDrop(server);
    let target = harness::Target::tcp(place.address(6789));
    harness::until("it serves", async || target.visit(100).await).await;
    drop(reader);

    harness::Process::new(server.0.id()).signal(harness::Signal::TERM);
    let ended = tokio::task::spawn_blocking(move || server.0.wait().map(|status| (status.code(), server)));
    let (code, _server) =
        harness::within("its end", ended).await.expect("no panic").expect("a child of ours");
    assert_eq!(code, Some(0));
}

struct KilledOnDrop(std::process::Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // Where it is over already there is nothing to do.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The log of this thread, in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Of one that is closed on purpose nothing is logged.
#[tokio::test]
async fn a_listener_that_is_dropped_without_having_been_served_is_named() {
    let log = Memory::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _log = tracing::subscriber::set_default(subscriber);

    let generation = Generation::builder().signals(false).start().await.expect("a generation");
    generation.listen("closed", "tcp://127.0.0.1:0").expect("a listener").close();
    drop(generation.listen("forgotten", "tcp://127.0.0.1:0").expect("a listener"));

    let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    let dropped: Vec<_> = text.lines().filter(|line| line.contains("dropped without")).collect();
    assert!(matches!(*dropped, [line] if line.contains("listener=\"forgotten\"")), "{text}");
}
