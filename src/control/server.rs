//! The server side of the control path.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use portcullis_layers::{Connection, ErrorChain, Peer};
use tokio::{
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{either::Either, sync::PollSemaphore};
use tower::Service;

use super::{
    credentials,
    message::{Answer, Opening, Request, command},
    status::{OpenConnection, Status},
};
use crate::{
    generation::Generation,
    handoff::{Arrival, Channel, ChannelError, Hello, LONGEST_FRAME, Refusal, RestartError},
    lifecycle::Phase,
    listener::{Accepted, GracefulListener, ServeError},
};

/// The number of connections that are handled at the same time; further ones wait in the queue of
/// the socket.
const AT_A_TIME: usize = 16;

/// The number of further connections that may wait for the outcome of a restart or a drain. Each
/// uses a descriptor.
const WAITING: usize = 128;

/// The limit for the first frame of a client.
const OPENING_LIMIT: Duration = Duration::from_secs(5);

/// The longest first frame, in bytes.
const LONGEST_OPENING: usize = 64 * 1024;

/// The limit for a client to read the answer.
const READING_LIMIT: Duration = Duration::from_secs(10);

/// The number of connections in one frame: far below the maximum length of a frame.
const ROWS: usize = 200;

/// Serves the control path until the generation has ended.
pub(crate) async fn serve(listener: GracefulListener, generation: Generation) {
    let service = ControlService {
        generation,
        active: PollSemaphore::new(Arc::new(Semaphore::new(AT_A_TIME))),
        permit: None,
        waiting: Arc::new(Semaphore::new(WAITING)),
    };
    match listener.accept_while_draining().serve(service).await {
        // The runner has logged why this generation does not serve.
        Ok(_) | Err(ServeError::Handoff(_)) => {}
        Err(error) => log!(error, error = %ErrorChain(&error), "the control path is no longer served"),
    }
}

/// Serves [`AT_A_TIME`] clients, and [`WAITING`] more that wait for an outcome.
///
/// tower's `ConcurrencyLimit` releases a permit only when the connection has finished: clients that wait
/// for the end of a probation would block all others.
struct ControlService {
    generation: Generation,
    active: PollSemaphore,
    permit: Option<OwnedSemaphorePermit>,
    waiting: Arc<Semaphore>,
}

impl Service<Accepted> for ControlService {
    type Response = ();
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.permit.is_none() {
            self.permit = ready!(self.active.poll_acquire(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, accepted: Accepted) -> Self::Future {
        let permits = Permits { active: self.permit.take(), waiting: self.waiting.clone() };
        let generation = self.generation.clone();
        Box::pin(async move {
            attend(accepted, permits, &generation).await;
            // The error of one connection does not concern the server.
            Ok(())
        })
    }
}

/// The permits of one connection.
struct Permits {
    active: Option<OwnedSemaphorePermit>,
    waiting: Arc<Semaphore>,
}

impl Permits {
    /// Waits for the outcome of a request, and releases the permit of the connection meanwhile. `None`
    /// if the client has closed the connection; the request itself is not cancelled.
    async fn wait(&mut self, channel: &Channel, outcome: impl Future<Output = Answer>) -> Option<Answer> {
        let Ok(_permit) = self.waiting.try_acquire() else {
            let reason = format!("{WAITING} clients already wait for a restart or a drain");
            return Some(Answer::Abort { reason });
        };
        self.active = None;
        tokio::select! {
            // Polled first: the request takes effect even if the client has gone.
            biased;
            answer = outcome => Some(answer),
            () = channel.closed() => None,
        }
    }
}

/// One connection, from its first frame to the answer.
async fn attend(accepted: Accepted, permits: Permits, generation: &Generation) {
    let peer = accepted.peer();
    // It is bound to a path.
    let Either::Right(stream) = accepted.into_inner() else { return };
    let mut channel = match channel(stream) {
        Ok(channel) => channel,
        Err(error) => return log!(debug, %peer, %error, "control connection failed"),
    };
    if !matches!(peer, Peer::Unix(peer) if credentials::trusted(peer.uid)) {
        log!(warn, %peer, "control connection rejected: the peer is another user");
        let reason = "only root and the user of this server may connect".to_owned();
        answer(&mut channel, peer, &Answer::Abort { reason }).await;
        return;
    }
    let opening = tokio::select! {
        // A request that has arrived is handled, also at the end of a drain.
        biased;
        opening = timeout(OPENING_LIMIT, channel.receive_any()) => opening,
        // A client without a request does not delay a drain.
        _ = generation.lifecycle().drained() => return,
    };
    match opening {
        Ok(Ok(Opening::Request(request))) => obey(&request, &mut channel, permits, peer, generation).await,
        Ok(Ok(Opening::Hello(hello))) => hand_over(hello, channel, generation).await,
        Ok(Ok(Opening::Unknown)) => {
            let reason = "this version does not support this type of message".to_owned();
            answer(&mut channel, peer, &Answer::Abort { reason }).await;
        }
        // A probe, or another process that looks whether the path is stale.
        Ok(Err(ChannelError::Closed)) => {
            log!(debug, %peer, "control connection closed without a request");
        }
        Ok(Err(error)) => {
            log!(info, %peer, error = %ErrorChain(&error), "invalid message on a control connection");
        }
        Err(_) => log!(info, %peer, limit = ?OPENING_LIMIT, "no request on a control connection"),
    }
}

fn channel(stream: UnixStream) -> std::io::Result<Channel> {
    let mut channel = Channel::without_descriptors(stream.into_std()?)?;
    channel.set_longest(LONGEST_OPENING);
    Ok(channel)
}

/// Passes the channel to the runner of the generation.
async fn hand_over(hello: Hello, mut channel: Channel, generation: &Generation) {
    let Some(peer) = credentials::process_of(&channel) else {
        return log!(info, "a process that requested a takeover has exited");
    };
    if generation.lifecycle().is_drained() {
        // The sockets are closed. The process becomes a first generation when the connection is
        // closed.
        return;
    }
    channel.set_longest(LONGEST_FRAME);
    generation.take_over(Arrival { channel, hello, peer }).await;
}

/// Performs a request and sends the answer.
async fn obey(
    request: &Request,
    channel: &mut Channel,
    mut permits: Permits,
    peer: Peer,
    generation: &Generation,
) {
    let asked = &*request.command;
    match asked {
        command::RESTART | command::DRAIN => {
            log!(info, %peer, command = asked, "control request");
        }
        _ => log!(debug, %peer, command = asked, "control request"),
    }
    let told = match asked {
        command::RESTART => permits.wait(channel, restart(generation, request.passed_on_to)).await,
        command::DRAIN => permits.wait(channel, drain(generation)).await,
        command::STATUS => Some(Answer::Status(Status::of(generation))),
        command::CONNECTIONS => return connections(channel, peer, generation).await,
        unknown => {
            let reason = format!("this version does not support the command `{unknown}`");
            Some(Answer::Abort { reason })
        }
    };
    match told {
        Some(told) => _ = answer(channel, peer, &told).await,
        None => log!(debug, %peer, command = asked, "control connection closed before the answer"),
    }
}

async fn restart(generation: &Generation, passed_on_to: Option<u64>) -> Answer {
    match generation.request_restart(passed_on_to).await {
        Ok(restarted) => Answer::Restarted {
            pid: restarted.pid,
            generation: restarted.generation,
            took_seconds: restarted.took.as_secs_f64(),
        },
        Err(RestartError::PassedOn) => Answer::Moved { passed_on_to: Some(generation.number() + 1) },
        // It arrived while this generation handed over, or was rolled back.
        Err(RestartError::Refused(Refusal::NotServing)) if has_moved(generation) => {
            Answer::Moved { passed_on_to }
        }
        Err(error) => Answer::Failed { result: error.result(), reason: ErrorChain(&error).to_string() },
    }
}

/// Whether another generation serves, or is about to accept again.
fn has_moved(generation: &Generation) -> bool {
    matches!(generation.phase(), Phase::Standby | Phase::Draining) && !generation.lifecycle().is_last()
}

async fn drain(generation: &Generation) -> Answer {
    generation.drain();
    let forced = generation.lifecycle().drained().await;
    if generation.lifecycle().is_last() {
        return Answer::Drained { forced };
    }
    let reason = "this generation has handed over, and another one serves".to_owned();
    Answer::Abort { reason }
}

async fn connections(channel: &mut Channel, peer: Peer, generation: &Generation) {
    let rows: Vec<_> = generation.tracker().connections().iter().map(OpenConnection::from).collect();
    let mut frames = rows.chunks(ROWS).peekable();
    if frames.peek().is_none() {
        let none = Answer::Connections { connections: Vec::new(), more: false };
        answer(channel, peer, &none).await;
    }
    while let Some(frame) = frames.next() {
        let part = Answer::Connections { connections: frame.to_vec(), more: frames.peek().is_some() };
        if !answer(channel, peer, &part).await {
            return;
        }
    }
}

/// Sends the answer, and returns whether that succeeded.
async fn answer(channel: &mut Channel, peer: Peer, told: &Answer) -> bool {
    match timeout(READING_LIMIT, channel.send(told)).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => {
            log!(debug, %peer, error = %ErrorChain(&error), "control connection ended before the answer");
        }
        Err(_) => log!(info, %peer, "control connection did not read its answer"),
    }
    false
}
