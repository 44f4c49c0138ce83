//! [`GracefulListener`]: a listening socket that is handed over from process to process.
//!
//! `accept_loop` accepts, `errors` classifies the errors of accept(2), `dispatch` calls the stack,
//! and `connection_task` is the future of one connection; `serve` combines them. [`crate::bind`]
//! creates the socket, [`crate::generation`] hands it over.

mod accept_loop;
mod accepted;
mod connection_task;
mod dispatch;
mod errors;
mod executor;
mod handle;
mod serve;

use portcullis_layers::LocalAddress;
use tokio::net::{TcpStream, UnixStream};

pub use accepted::Accepted;
pub use connection_task::ConnectionTask;
pub use executor::{Executor, TokioExecutor};
pub(crate) use handle::ListenerHandle;
pub use serve::{ConnectionService, Drained, ServeError};

/// A listening socket that outlives its process.
///
/// Created by [`Generation::listen`](crate::Generation::listen). It accepts only while it is served
/// and while this generation serves: a successor waits until its predecessor has stopped accepting.
/// Dropping it closes the socket of this process, but leaves a Unix path in place. See
/// [`close`](Self::close) for the effect of dropping it before it was served.
#[derive(Debug)]
#[must_use = "nothing is accepted before it is served"]
pub struct GracefulListener<E = TokioExecutor> {
    handle: ListenerHandle,
    executor: E,
}

impl GracefulListener {
    pub(crate) const fn new(handle: ListenerHandle) -> Self {
        Self { handle, executor: TokioExecutor }
    }
}

impl<E> GracefulListener<E> {
    /// Closes a listener that was not served. A Unix path is left in place.
    ///
    /// The generation can then become ready without it. If a listener is dropped instead without
    /// having been served, its generation never becomes ready. So an error before `serve` does not
    /// result in a successor that serves only some of the listeners.
    pub fn close(self) {
        self.handle.close();
    }

    /// The name of the listener: the label `listener` of metrics, and the log field.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handle.name
    }

    /// The address that the socket is bound to. If the URI has port 0, it contains the port that
    /// the kernel chose.
    #[must_use]
    pub fn local_address(&self) -> &LocalAddress {
        self.handle.acceptor.local_address()
    }

    /// Continues to accept while the last generation drains, until the connections of the other
    /// listeners have finished. Use it for listeners that report on the drain itself, such as
    /// readiness and metrics.
    ///
    /// The drain does not wait for the connections of this listener, except at most 1 s for
    /// responses in flight. After a handoff it stops like any other listener, because the successor
    /// accepts.
    pub fn accept_while_draining(mut self) -> Self {
        self.handle.while_draining = true;
        self
    }

    /// Runs connections on another executor than [`TokioExecutor`], which replaces the concurrency
    /// model.
    pub fn executor<F>(self, executor: F) -> GracefulListener<F> {
        GracefulListener { handle: self.handle, executor }
    }
}

impl<E> GracefulListener<E> {
    /// Serves every connection with `stack`, and returns when this generation has drained.
    ///
    /// `poll_ready` of the stack is called before each accept, so a limit in the stack leaves
    /// further connections in the kernel's queue. The future that `call` returns is spawned and
    /// lasts as long as the connection; its error concerns that connection only. If accept(2) fails
    /// because descriptors or memory are exhausted, the listener retries after 5 ms and doubles the
    /// delay each time, up to 1 s.
    ///
    /// A generation is ready when all its listeners are served (see
    /// [`Generation::delay_readiness`](crate::Generation::delay_readiness)).
    ///
    /// # Errors
    ///
    /// When the socket or the stack has failed permanently, and when this process was started as a
    /// successor and does not serve. Open connections continue.
    ///
    /// # Cancellation
    ///
    /// Dropping the future closes the listener; open connections continue.
    pub async fn serve<S>(self, stack: S) -> Result<Drained, ServeError>
    where
        S: ConnectionService<Accepted>,
        E: Executor<ConnectionTask<S::ConnectionFuture>>,
    {
        serve::serve(self.handle, self.executor, stack).await
    }

    /// As [`serve`](Self::serve), for a stack that takes plain [`TcpStream`]s.
    ///
    /// A plain stream has no drain signal. If the inner service needs one, add a
    /// [`TrackLayer`](portcullis_layers::track::TrackLayer) to the stack.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve); and [`ServeError::Transport`] when the listener is bound to a Unix path.
    pub async fn serve_tcp<S>(self, stack: S) -> Result<Drained, ServeError>
    where
        S: ConnectionService<TcpStream>,
        E: Executor<ConnectionTask<S::ConnectionFuture>>,
    {
        serve::serve(self.handle, self.executor, stack).await
    }

    /// As [`serve`](Self::serve), for a stack that takes plain [`UnixStream`]s.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve); and [`ServeError::Transport`] when the listener is not bound to a Unix path.
    pub async fn serve_unix<S>(self, stack: S) -> Result<Drained, ServeError>
    where
        S: ConnectionService<UnixStream>,
        E: Executor<ConnectionTask<S::ConnectionFuture>>,
    {
        serve::serve(self.handle, self.executor, stack).await
    }
}
