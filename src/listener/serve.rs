//! Serving a listener: the stack, and the result.

use std::{io, pin::pin, sync::Arc};

use portcullis_layers::BoxError;
use tower::Service;

use super::{
    ConnectionTask, Executor,
    accept_loop::AcceptLoop,
    accepted::Transport,
    dispatch::{Dispatcher, wrong_transport},
    handle::ListenerHandle,
};
use crate::{
    handoff::HandoffError,
    lifecycle::{Exit, Phase},
};

/// A stack that can serve connections of type `C`: a tower service whose future lasts as long as
/// the connection.
///
/// It is implemented for every matching service, as an alias of the bounds of
/// [`serve`](crate::GracefulListener::serve).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve connections of type `{C}`",
    label = "this stack does not take `{C}`",
    note = "a stack is a `tower::Service<{C}, Response = ()>`; its error converts into `BoxError`, its future is `'static`, and `Send` unless the executor is local",
    note = "each layer must fit the stream that comes out of the one before it: a service for `TlsStream<_>` needs a `TlsLayer` above it, \
            one for `Tracked<_>` a `TrackLayer`, one for `Metered<_>` a `MetricsLayer`; a service for a plain `TcpStream` is served by `serve_tcp`"
)]
pub trait ConnectionService<C>:
    Service<C, Response = (), Error: Into<BoxError>, Future = <Self as ConnectionService<C>>::ConnectionFuture>
{
    /// The future of one connection.
    type ConnectionFuture: Future<Output = Result<(), <Self as Service<C>>::Error>> + 'static;
}

#[diagnostic::do_not_recommend]
impl<S, C> ConnectionService<C> for S
where
    S: Service<C, Response = ()>,
    S::Error: Into<BoxError>,
    S::Future: 'static,
{
    type ConnectionFuture = S::Future;
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Number of connections that were closed at the deadline of the drain, on all listeners of the
    /// generation.
    pub forced: usize,
}

/// Why a listener is no longer served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// accept(2) failed with a permanent error.
    #[error("listener {listener:?} cannot accept any more")]
    #[non_exhaustive]
    Accept {
        /// The name of the listener.
        listener: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// `poll_ready` of the stack failed: the stack accepts no more connections.
    #[error("listener {listener:?}: the stack accepts no more connections")]
    #[non_exhaustive]
    Service {
        /// The name of the listener.
        listener: String,
        /// The error of the stack.
        #[source]
        source: BoxError,
    },
    /// The stack takes streams of another kind of socket than the listener's.
    /// [`serve`](crate::GracefulListener::serve) takes both kinds.
    #[error("listener {listener:?} is bound to {address}, but its stack takes {wanted} streams")]
    #[non_exhaustive]
    Transport {
        /// The name of the listener.
        listener: String,
        /// The address that it is bound to.
        address: String,
        /// `tcp` or `unix`.
        wanted: &'static str,
    },
    /// This generation does not serve. The process should exit with an error; its predecessor, if
    /// it is alive, continues to serve.
    #[error("this generation does not serve")]
    Handoff(#[source] Arc<HandoffError>),
    /// The task that runs the lifecycle of this generation has panicked. The generation has stopped
    /// accepting, and the process should exit with an error.
    ///
    /// One cause is a `tracing` subscriber: `tracing_subscriber::fmt` panics if standard error is
    /// closed, unless `log_internal_errors(false)` is set.
    #[error("the task of this generation has panicked")]
    Panicked,
}

/// Serves until the generation has drained.
pub(super) async fn serve<T, S, E>(
    handle: ListenerHandle,
    executor: E,
    service: S,
) -> Result<Drained, ServeError>
where
    T: Transport,
    S: ConnectionService<T>,
    E: Executor<ConnectionTask<S::ConnectionFuture>>,
{
    if T::KIND.is_some_and(|kind| kind != handle.acceptor.kind()) {
        return Err(wrong_transport::<T>(&handle.name, handle.acceptor.local_address()));
    }
    let mut dispatcher = Dispatcher::new(&handle, executor, service);
    // A stack that fails at once must not make this generation ready.
    dispatcher.check()?;

    let lifecycle = handle.lifecycle.clone();
    let mut phase = lifecycle.phases();
    let counted = lifecycle.open(handle.while_draining).listener();
    handle.set_served();
    let mut accepting = AcceptLoop::new(handle, dispatcher);
    loop {
        let now = *phase.borrow_and_update();
        match now {
            Phase::Serving => {
                let running = lifecycle.accepting();
                let mut later = phase.clone();
                // An error would mean that the sender was dropped, but `lifecycle` holds it.
                let stopped = async move { _ = later.wait_for(|phase| *phase != Phase::Serving).await };
                accepting.run(pin!(stopped)).await?;
                drop(running);
            }
            Phase::Draining => break,
            Phase::Starting | Phase::Standby => _ = phase.changed().await,
        }
    }
    // The drain has ended: no task waits for the connections of a listener that is served after it.
    let last = (lifecycle.is_last() || accepting.is_unclaimed()) && !lifecycle.has_exited();
    accepting.close(last).await?;
    drop(counted);
    match lifecycle.exit().await {
        Exit::Drained { forced } => Ok(Drained { forced }),
        Exit::Failed(error) => Err(ServeError::Handoff(error)),
        Exit::Panicked => Err(ServeError::Panicked),
    }
}
