//! The accept loop: `poll_ready`, accept, `call`, spawn.

use std::{
    future::{Future, poll_fn},
    io,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use portcullis_layers::{BoxError, CloseReason, Connection};
use tower::Service;

use super::{
    Executor,
    accepted::{Accepted, Transport},
    errors::{AcceptErrors, Class},
    task::ConnectionTask,
};
use crate::{
    HandoffError,
    generation::{End, Seat},
    phase::Phase,
};

/// A stack that can serve connections of type `C`: a tower service whose future is the whole life of the connection.
///
/// It is implemented for every service that fits, and only names what [`serve`](GracefulListener::serve) asks for.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve connections of type `{C}`",
    label = "this stack does not take `{C}`",
    note = "a stack is a `tower::Service<{C}, Response = ()>`; its error converts into `BoxError`, its future is `Send + 'static`",
    note = "each layer must fit the stream that comes out of the one before it: a service for `TlsStream<_>` needs a `TlsLayer` above it, \
            one for `Tracked<_>` a `TrackLayer`, one for `Metered<_>` a `MetricsLayer`; a service for a plain `TcpStream` is served by `serve_tcp`"
)]
pub trait ConnectionService<C>:
    Service<
        C,
        Response = (),
        Error: Into<BoxError>,
        Future: Future<Output = Result<(), Self::Error>> + Send + 'static,
    >
{
}

#[diagnostic::do_not_recommend]
impl<S, C> ConnectionService<C> for S
where
    S: Service<C, Response = ()>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
}

/// How a generation that has drained ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that were cut off at the deadline of the drain, on all listeners of the generation.
    pub forced: usize,
}

/// Why a listener is not served any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// accept(2) failed in a way that no waiting mends.
    #[error("listener {listener:?} cannot accept any more")]
    Accept {
        /// The name of the listener.
        listener: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The stack failed in `poll_ready`: it takes no connection any more.
    #[error("listener {listener:?}: the stack takes no more connections")]
    Service {
        /// The name of the listener.
        listener: String,
        /// What the stack said.
        #[source]
        source: BoxError,
    },
    /// The stack was made for another kind of socket.
    #[error(
        "listener {listener:?} is bound to {address}, but its stack was made for {wanted} streams: use `serve`, or bind it accordingly"
    )]
    Transport {
        /// The name of the listener.
        listener: String,
        /// What it is bound to.
        address: String,
        /// `tcp` or `unix`.
        wanted: &'static str,
    },
    /// This generation may not serve: its predecessor serves on. The process should exit with an error.
    #[error("this generation does not serve")]
    Handoff(#[source] Arc<HandoffError>),
}

/// The shortest and the longest wait after an accept that failed for want of something.
const BACKOFF: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(1);

/// At the end of a drain without a successor: as many connections are taken from the queue as the kernel may hold there.
const QUEUE: usize = 4096;

/// Serves until the generation has drained.
pub(super) async fn serve<T, S, E>(seat: Seat, executor: E, service: S) -> Result<Drained, ServeError>
where
    T: Transport,
    S: ConnectionService<T>,
    E: Executor,
{
    if T::KIND.is_some_and(|kind| kind != seat.acceptor.kind()) {
        return Err(wrong_transport::<T>(&seat));
    }
    let shared = seat.shared.clone();
    let errors = AcceptErrors::register(shared.metrics_prefix(), &seat.name);
    let mut phase = shared.phase();
    let open = shared.open(seat.attending);
    let counted = open.listener();
    seat.serve();
    let mut accepting = AcceptLoop { seat, executor, service, errors, backoff: *BACKOFF.start() };
    loop {
        let now = *phase.borrow_and_update();
        match now {
            Phase::Serving => {
                let running = shared.accepting();
                let mut later = phase.clone();
                // An error would mean that the sender is gone, and `shared` holds it.
                let stopped = async move { _ = later.wait_for(|phase| *phase != Phase::Serving).await };
                accepting.run(stopped).await?;
                drop(running);
            }
            Phase::Draining => break,
            Phase::Starting | Phase::Standby => _ = phase.changed().await,
        }
    }
    if shared.is_last() {
        if accepting.seat.attending {
            accepting.run(shared.drained()).await?;
        }
        accepting.take_queued().await?;
        accepting.seat.acceptor.unlink();
    }
    // This process' copy of the socket is closed before the end is waited for, and the connections are counted only
    // after it.
    drop(accepting);
    drop(counted);
    match shared.ended().await {
        End::Drained { forced } => Ok(Drained { forced }),
        End::Handoff(error) => Err(ServeError::Handoff(error)),
    }
}

fn wrong_transport<T: Transport>(seat: &Seat) -> ServeError {
    ServeError::Transport {
        listener: seat.name.to_string(),
        address: seat.acceptor.local_address().to_string(),
        wanted: T::KIND.unwrap_or("any"),
    }
}

/// The stack's error is turned into ours where it comes up: it need not be `Send`, and the accept loop is.
fn not_ready(seat: &Seat, error: impl Into<BoxError>) -> ServeError {
    ServeError::Service { listener: seat.name.to_string(), source: error.into() }
}

struct AcceptLoop<S, E> {
    seat: Seat,
    executor: E,
    service: S,
    errors: AcceptErrors,
    backoff: Duration,
}

impl<S, E> AcceptLoop<S, E> {
    /// Accepts until `stopped`.
    async fn run<T>(&mut self, stopped: impl Future<Output = ()>) -> Result<(), ServeError>
    where
        T: Transport,
        S: ConnectionService<T>,
        E: Executor,
    {
        let mut stopped = pin!(stopped);
        loop {
            let accepted = poll_fn(|cx| {
                if stopped.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                match self.service.poll_ready(cx) {
                    Poll::Ready(Ok(())) => {
                        self.seat.acceptor.poll_accept(cx).map(|accepted| Some(Ok(accepted)))
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Some(Err(not_ready(&self.seat, error)))),
                    Poll::Pending => Poll::Pending,
                }
            });
            match accepted.await {
                None => return Ok(()),
                Some(Err(error)) => return Err(error),
                Some(Ok(Ok(accepted))) => {
                    self.backoff = *BACKOFF.start();
                    self.call(accepted)?;
                }
                Some(Ok(Err(error))) => {
                    if self.failed(error)?.is_break() {
                        tokio::select! {
                            () = &mut stopped => return Ok(()),
                            () = tokio::time::sleep(self.backoff) => {}
                        }
                        self.backoff = (self.backoff * 2).min(*BACKOFF.end());
                    }
                }
            }
        }
    }

    /// Takes the connections that the kernel completed before the listener closes: closing it would reset them.
    async fn take_queued<T>(&mut self) -> Result<(), ServeError>
    where
        T: Transport,
        S: ConnectionService<T>,
        E: Executor,
    {
        for _ in 0..QUEUE {
            // A stack at its limit would have us wait for a connection to end; those that queue behind it are lost.
            let ready = poll_fn(|cx| match self.service.poll_ready(cx) {
                Poll::Ready(result) => {
                    Poll::Ready(Some(result.map_err(|error| not_ready(&self.seat, error))))
                }
                Poll::Pending => Poll::Ready(None),
            });
            match ready.await {
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
            match self.seat.acceptor.accept_queued() {
                Ok(Some(accepted)) => self.call(accepted)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    if self.failed(error)?.is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn call<T>(&mut self, accepted: Accepted) -> Result<(), ServeError>
    where
        T: Transport,
        S: ConnectionService<T>,
        E: Executor,
    {
        let peer = accepted.peer();
        let Some(stream) = T::from_accepted(accepted) else { return Err(wrong_transport::<T>(&self.seat)) };
        let open = self.seat.shared.open(self.seat.attending);
        let listener = self.seat.name.clone();
        // A panic in `call` concerns its connection, as one in the future does, and not the accept loop. The service
        // is used again after it; so is what tower's layers hold in it, which is whole at every call.
        let call = AssertUnwindSafe(|| self.service.call(stream));
        let Ok(life) = panic::catch_unwind(call) else {
            tracing::error!(listener = &*listener, %peer, reason = %CloseReason::Service, "service panicked");
            return Ok(());
        };
        let task = ConnectionTask::new(life, listener, peer, open.forced(), open.connection());
        self.executor.spawn(task);
        Ok(())
    }

    /// What a failed accept means: go on at once, or (`Break`) after a while.
    fn failed(&mut self, error: io::Error) -> Result<ControlFlow<()>, ServeError> {
        match self.errors.count(&error) {
            Class::Connection => Ok(ControlFlow::Continue(())),
            Class::Exhausted => Ok(ControlFlow::Break(())),
            Class::Fatal => Err(ServeError::Accept { listener: self.seat.name.to_string(), source: error }),
        }
    }
}
