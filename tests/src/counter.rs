//! The program `counter`: a server that tells each connection its number, in a mood that a test can change.

use std::{fs, path::PathBuf};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::{Client, Echo, Server, program::program};

/// A counter that is not started yet.
pub struct Counter {
    echo: Echo,
    mood: Mood,
}

/// The mood of processes that start from now on.
#[derive(Clone)]
pub struct Mood(PathBuf);

impl Mood {
    pub fn is(&self, mood: &str) {
        fs::write(&self.0, mood).expect("a file of ours");
    }
}

impl Counter {
    /// In this mood, to begin with.
    pub fn new(mood: &str) -> (Self, Mood) {
        let echo = Echo::bare().program(program("counter"));
        let place = echo.place().clone();
        let (address, file) = (place.address(6789).to_string(), Mood(place.path("mood")));
        file.is(mood);
        let echo = echo.option("--address", address).option("--mood", &file.0);
        (Self { echo, mood: file.clone() }, file)
    }

    /// A fifo at which the health check of a successor waits, in the mood that is returned as well, until somebody
    /// writes its verdict.
    pub fn gate(&self) -> (PathBuf, String) {
        let gate = self.mood.0.with_file_name("gate");
        mkfifo(&gate, Mode::S_IRWXU).expect("a directory of ours");
        let mood = format!("check-waits {}", gate.display());
        (gate, mood)
    }

    /// With a control path.
    pub fn controlled(self) -> Self {
        Self { echo: self.echo.controlled(), ..self }
    }

    pub async fn start(self) -> Server {
        self.echo.start().await
    }
}

/// One whole visit; returns its number.
pub async fn visit(server: &Server) -> u64 {
    let mut client = server.target().connect().await.expect("it accepts");
    let number = number(&mut client).await;
    leave(client).await;
    number
}

/// The number of this connection.
pub async fn number(client: &mut Client) -> u64 {
    client.line().await.expect("a number").parse().expect("a number")
}

/// Ends a connection, and sees that it was served to its end.
pub async fn leave(mut client: Client) {
    client.half_close().await.expect("it is open");
    assert_eq!(client.line().await.expect("a last word"), "bye");
    client.expect_end().await.expect("an end in good order");
}
