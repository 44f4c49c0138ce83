//! The side of those who ask.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    ControlError, OpenConnection, Status,
    message::{Answer, Opening, Request, command},
    takeover,
};
use crate::{
    generation::Restarted,
    handoff::{Channel, ChannelError},
    listener::Drained,
};

/// A connection to the control path of a server, good for one request.
///
/// The server must be run by root or by the user of this process, unless this process is root's; and it turns away
/// whoever is neither root nor its own user.
///
/// ```no_run
/// use portcullis::control::Client;
///
/// # async fn example() -> Result<(), portcullis::control::ControlError> {
/// let restarted = Client::connect("/run/echo/control.sock").await?.restart().await?;
/// println!("process {} serves as generation {}", restarted.pid, restarted.generation);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is asked yet"]
pub struct Client {
    path: PathBuf,
    channel: Channel,
}

/// What a server can answer from what it knows, it answers within this time, also if others are heard first.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

impl Client {
    /// Connects to the server whose control path this is. Waits while the queue of the socket is full, at most 5 s.
    ///
    /// # Errors
    ///
    /// When nobody is there, or the wrong one.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ControlError> {
        let path = path.as_ref().to_owned();
        let stream = takeover::connect_as_client(&path).await?;
        match Channel::without_descriptors(stream) {
            Ok(channel) => Ok(Self { path, channel }),
            Err(source) => Err(ControlError::Io { path, source }),
        }
    }

    /// Restarts the server, and waits for the outcome: each step of a restart has a deadline, so it comes.
    ///
    /// # Errors
    ///
    /// [`RestartFailed`](ControlError::RestartFailed) if the server serves as before, with its reason.
    ///
    /// # Cancellation
    ///
    /// Dropping the future does not call the restart off, once it was asked for.
    pub async fn restart(mut self) -> Result<Restarted, ControlError> {
        self.ask(command::RESTART).await?;
        match self.answer().await? {
            Answer::Restarted { pid, generation, took_seconds } => {
                let took = Duration::try_from_secs_f64(took_seconds).unwrap_or_default();
                Ok(Restarted { pid, generation, took })
            }
            Answer::Failed { result, reason } => {
                Err(ControlError::RestartFailed { path: self.path, result, reason })
            }
            other => Err(self.not_understood(&other)),
        }
    }

    /// Tells the server to drain and to end, and waits until it has drained.
    ///
    /// # Errors
    ///
    /// When the server hands over to a successor just then: then that one serves, and has to be asked.
    ///
    /// # Cancellation
    ///
    /// Dropping the future does not call the drain off, once it was asked for.
    pub async fn drain(mut self) -> Result<Drained, ControlError> {
        self.ask(command::DRAIN).await?;
        match self.answer().await? {
            Answer::Drained { forced } => Ok(Drained { forced }),
            other => Err(self.not_understood(&other)),
        }
    }

    /// Where the server stands. It has 30 s to answer.
    ///
    /// # Errors
    ///
    /// When there is no answer, which is so while the server starts.
    pub async fn status(mut self) -> Result<Status, ControlError> {
        self.ask(command::STATUS).await?;
        match self.answer_in_time().await? {
            Answer::Status(status) => Ok(status),
            other => Err(self.not_understood(&other)),
        }
    }

    /// The open connections that the server's tracking layers know of, the oldest first. It has 30 s to answer.
    ///
    /// # Errors
    ///
    /// When there is no answer, which is so while the server starts.
    pub async fn connections(mut self) -> Result<Vec<OpenConnection>, ControlError> {
        self.ask(command::CONNECTIONS).await?;
        let mut all = Vec::new();
        loop {
            match self.answer_in_time().await? {
                Answer::Connections { connections, more } => {
                    all.extend(connections);
                    if !more {
                        return Ok(all);
                    }
                }
                other => return Err(self.not_understood(&other)),
            }
        }
    }

    async fn ask(&mut self, command: &str) -> Result<(), ControlError> {
        let request = Opening::Request(Request { command: command.to_owned() });
        match self.in_time(async |channel| channel.send(&request).await).await? {
            // A server that turns us away does not wait for our request. What it said can still be read.
            Ok(()) | Err(ChannelError::Closed) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn answer(&mut self) -> Result<Answer, ControlError> {
        let answered = self.channel.receive_any().await;
        self.understood(answered)
    }

    async fn answer_in_time(&mut self) -> Result<Answer, ControlError> {
        let answered = self.in_time(async |channel| channel.receive_any().await).await?;
        self.understood(answered)
    }

    fn understood(&self, answered: Result<Answer, ChannelError>) -> Result<Answer, ControlError> {
        match answered {
            Ok(Answer::Abort { reason }) => Err(ControlError::TurnedAway { path: self.path.clone(), reason }),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn in_time<T>(&mut self, work: impl AsyncFnOnce(&mut Channel) -> T) -> Result<T, ControlError> {
        let limit = ANSWER_LIMIT;
        let path = &self.path;
        timeout(limit, work(&mut self.channel))
            .await
            .map_err(|_| ControlError::TimedOut { path: path.clone(), limit })
    }

    fn failed(&self, error: ChannelError) -> ControlError {
        let path = self.path.clone();
        match error {
            ChannelError::Closed => ControlError::NoAnswer { path },
            ChannelError::Io(source) => ControlError::Io { path, source },
            error => ControlError::NotUnderstood { path, reason: error.to_string() },
        }
    }

    fn not_understood(&self, answer: &Answer) -> ControlError {
        let path = self.path.clone();
        ControlError::NotUnderstood { path, reason: format!("it gave another answer: {answer:?}") }
    }
}
