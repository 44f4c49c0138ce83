//! The client of the control path.

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

/// A connection to the control path of a server, for one request.
///
/// The client accepts only a server that runs as root or as the user of this process; a client that
/// runs as root accepts every server. The server accepts only clients that run as root or as its
/// own user.
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

/// The limit of answers that the server can give at once, also if other requests are handled first.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The number of generations that are tried for one restart. A generation that hands over has
/// passed the request on, and the next one does not pass it on again; the others allow for
/// rollbacks in between.
const MOVES: usize = 8;

impl Client {
    /// Connects to the server with this control path. Waits at most 5 s while the queue of the
    /// socket is full.
    ///
    /// # Errors
    ///
    /// If no server listens there, or if it runs as another user.
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

    /// Restarts the server and waits for the outcome. Each step of a restart has a limit.
    ///
    /// During another restart, or on probation, the request waits for its end. The restart that
    /// then runs starts after the request, so it runs the program that is installed at that time.
    /// Requests that wait at the same time share one restart. If the server hands over first, its
    /// successor runs the restart; this method then connects to the successor, waits for the
    /// outcome, and does not cause a second restart.
    ///
    /// # Errors
    ///
    /// - [`RestartFailed`](ControlError::RestartFailed) if the restart failed: the server serves as
    ///   before.
    /// - [`NoAnswer`](ControlError::NoAnswer) if the server exited before it answered.
    /// - [`MovedTooOften`](ControlError::MovedTooOften) if each of 8 generations in a row handed over
    ///   before it answered.
    ///
    /// # Cancellation
    ///
    /// Dropping the future does not cancel a restart that was requested.
    pub async fn restart(mut self) -> Result<Restarted, ControlError> {
        let mut passed_on_to = None;
        for _ in 0..MOVES {
            match self.request_restart(passed_on_to).await {
                Ok(Answer::Restarted { pid, generation, took_seconds }) => {
                    let took = Duration::try_from_secs_f64(took_seconds).unwrap_or_default();
                    return Ok(Restarted { pid, generation, took });
                }
                Ok(Answer::Failed { result, reason }) => {
                    return Err(ControlError::RestartFailed { path: self.path, result, reason });
                }
                Ok(Answer::Moved { passed_on_to: to }) => passed_on_to = to.or(passed_on_to),
                // A request that was passed on can be repeated: it starts no restart if one has run.
                Err(ControlError::NoAnswer { .. }) if passed_on_to.is_some() => {}
                Ok(_) => return Err(self.not_understood()),
                Err(error) => return Err(error),
            }
            self = Self::connect(self.path).await?;
        }
        Err(ControlError::MovedTooOften { path: self.path, times: MOVES })
    }

    async fn request_restart(&mut self, passed_on_to: Option<u64>) -> Result<Answer, ControlError> {
        self.send(Request { command: command::RESTART.to_owned(), passed_on_to }).await?;
        self.answer().await
    }

    /// Requests a drain, after which the server exits, and waits until it has drained.
    ///
    /// # Errors
    ///
    /// If the server is handing over to a successor: the successor then serves, and has to be
    /// drained instead.
    ///
    /// # Cancellation
    ///
    /// Dropping the future does not cancel a drain that was requested.
    pub async fn drain(mut self) -> Result<Drained, ControlError> {
        self.ask(command::DRAIN).await?;
        match self.answer().await? {
            Answer::Drained { forced } => Ok(Drained { forced }),
            _ => Err(self.not_understood()),
        }
    }

    /// Returns the status of the server. It has 30 s to answer.
    ///
    /// # Errors
    ///
    /// If there is no answer, as while the server starts.
    pub async fn status(mut self) -> Result<Status, ControlError> {
        self.ask(command::STATUS).await?;
        match self.answer_in_time().await? {
            Answer::Status(status) => Ok(status),
            _ => Err(self.not_understood()),
        }
    }

    /// Returns the open connections that the tracking layers of the server list, the oldest first.
    /// It has 30 s to answer.
    ///
    /// # Errors
    ///
    /// If there is no answer, as while the server starts.
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
                _ => return Err(self.not_understood()),
            }
        }
    }

    async fn ask(&mut self, command: &str) -> Result<(), ControlError> {
        self.send(Request { command: command.to_owned(), passed_on_to: None }).await
    }

    async fn send(&mut self, request: Request) -> Result<(), ControlError> {
        let request = Opening::Request(request);
        match self.in_time(async |channel| channel.send(&request).await).await? {
            // A server that rejects this client does not wait for its request. Its answer can still
            // be read.
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
            Ok(Answer::Abort { reason }) => Err(ControlError::Rejected { path: self.path.clone(), reason }),
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

    fn not_understood(&self) -> ControlError {
        let path = self.path.clone();
        ControlError::NotUnderstood { path, reason: "it sent the answer to another request".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{UnixListener, UnixStream},
    };

    use super::*;

    async fn request(stream: &mut UnixStream) -> String {
        let length = stream.read_u32().await.unwrap();
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    /// A server that gives these answers, one a connection; to an empty one it hangs up. What the
    /// client gets, and the requests that it has sent.
    async fn restarted(answers: &[&str]) -> (Result<Restarted, ControlError>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let serving = async {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                requests.push(request(&mut stream).await);
                if !answer.is_empty() {
                    stream.write_u32(u32::try_from(answer.len()).unwrap()).await.unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
            requests
        };
        let asking = async { Client::connect(&path).await?.restart().await };
        tokio::join!(asking, serving)
    }

    const RESTARTED: &str = r#"{"type":"restarted","pid":7,"generation":3,"took_seconds":0.5}"#;
    const PASSED_ON: &str = r#"{"type":"moved","passed_on_to":2}"#;
    const PLAIN: &str = r#"{"type":"request","command":"restart"}"#;
    const AGAIN: &str = r#"{"type":"request","command":"restart","passed_on_to":2}"#;

    #[tokio::test]
    async fn a_restart_that_was_passed_on_is_followed() {
        let (outcome, requests) = restarted(&[PASSED_ON, r#"{"type":"moved"}"#, "", RESTARTED]).await;
        assert_eq!(outcome.unwrap().generation, 3);
        assert_eq!(requests, [PLAIN, AGAIN, AGAIN, AGAIN]);
    }

    #[tokio::test]
    async fn a_restart_that_was_not_passed_on_is_not_repeated() {
        let (outcome, requests) = restarted(&[r#"{"type":"moved"}"#, ""]).await;
        assert!(matches!(outcome, Err(ControlError::NoAnswer { .. })), "{outcome:?}");
        assert_eq!(requests, [PLAIN, PLAIN], "the one that has moved had not accepted the request");
    }

    #[tokio::test]
    async fn a_restart_that_is_passed_on_for_ever_is_an_error() {
        let (outcome, requests) = restarted(&[PASSED_ON; MOVES]).await;
        assert!(matches!(outcome, Err(ControlError::MovedTooOften { times: MOVES, .. })), "{outcome:?}");
        assert_eq!(requests.len(), MOVES);
    }
}
