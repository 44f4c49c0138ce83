//! [`GracefulListener`]: a listening socket that belongs to a line of processes.
//!
//! Here are accepting (`accept`), its errors (`errors`), the loop (`accept_loop`) that feeds a stack (`feed`) and the task
//! of one connection (`task`); `serve` puts them together. Where the socket comes from and when it changes hands is the affair of
//! [`generation`](crate::generation).

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
/// Made by [`Generation::listen`](crate::Generation::listen). Nothing is accepted until it is served, and then only
/// while this generation serves: a successor waits until its predecessor has stopped. Dropping it closes this
/// process' copy of the socket; a Unix path stays where it is. See [`close`](Self::close) for what that means before it
/// was served.
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
    /// Closes the listener without having served it; a Unix path stays where it is.
    ///
    /// The generation can be ready without it. A listener that is dropped unserved keeps it from ever being
    /// ready: what went wrong before it could be served must not lead to a successor that serves only a part.
    pub fn close(self) {
        self.handle.close();
    }

    /// The name it was given: the `listener` of metrics and logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handle.name
    }

    /// The address that the socket is bound to: with port 0 in the URI, it says which one it became.
    #[must_use]
    pub fn local_address(&self) -> &LocalAddress {
        self.handle.acceptor.local_address()
    }

    /// Goes on accepting while this generation is drained at the end of the line, until the connections of the
    /// other listeners are over: for what tells about the drain itself, such as readiness and metrics.
    ///
    /// The drain does not wait for its connections, but for an answer on its way (at most 1 s). After a handoff it stops
    /// as any other listener, for the successor accepts.
    pub fn accept_while_draining(mut self) -> Self {
        self.handle.while_draining = true;
        self
    }

    /// Runs connections on an executor of your own instead of [`TokioExecutor`]: this is how the concurrency model
    /// is replaced.
    pub fn executor<F>(self, executor: F) -> GracefulListener<F> {
        GracefulListener { handle: self.handle, executor }
    }
}

impl<E> GracefulListener<E> {
    /// Serves every connection with `stack`, and returns when this generation has drained.
    ///
    /// The stack's `poll_ready` is asked before each accept: a limit in it leaves further connections in the
    /// kernel's queue. What `call` returns is spawned; it is the whole life of the connection, and its error
    /// concerns that connection alone. When accept(2) fails for want of descriptors or memory, the
    /// listener waits 5 ms, twice as long each time, at most 1 s, and goes on.
    ///
    /// A generation is ready when all its listeners are being served (see [`Generation::delay_readiness`](crate::Generation::delay_readiness)).
    ///
    /// # Errors
    ///
    /// When the socket or the stack is of no use any more, and when this process was started as a successor and may
    /// not serve. The connections that are open go on.
    ///
    /// # Cancellation
    ///
    /// Dropping the future closes the listener; the connections that are open go on.
    pub async fn serve<S>(self, stack: S) -> Result<Drained, ServeError>
    where
        S: ConnectionService<Accepted>,
        E: Executor<ConnectionTask<S::ConnectionFuture>>,
    {
        serve::serve(self.handle, self.executor, stack).await
    }

    /// As [`serve`](Self::serve), for a stack that takes plain [`TcpStream`]s.
    ///
    /// A plain stream does not know when to drain: put a
    /// [`TrackLayer`](portcullis_layers::track::TrackLayer) into the stack if the leaf is to know.
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
