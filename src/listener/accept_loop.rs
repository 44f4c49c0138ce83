//! The accept loop: `poll_ready`, accept, `call`, spawn.

use std::{
    future::{Future, poll_fn},
    io,
    ops::{ControlFlow, RangeInclusive},
    pin::Pin,
    task::{Poll, ready},
    time::Duration,
};

use super::{
    ConnectionService, ConnectionTask, Executor, ServeError,
    accepted::{Accepted, Transport},
    dispatch::Dispatcher,
    errors::{AcceptErrors, Class},
    handle::ListenerHandle,
};

/// The minimum and the maximum delay after accept(2) has failed because a resource is exhausted.
const BACKOFF: RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(1);

/// The maximum number of connections that the last generation takes from the queue at the end.
const QUEUE: usize = 4096;

/// A listener that is served.
pub(super) struct AcceptLoop<S, E> {
    handle: ListenerHandle,
    dispatcher: Dispatcher<S, E>,
    errors: AcceptErrors,
    backoff: Duration,
}

impl<S, E> AcceptLoop<S, E> {
    pub(super) fn new(handle: ListenerHandle, dispatcher: Dispatcher<S, E>) -> Self {
        let errors = AcceptErrors::register(&handle.metrics_prefix, &handle.name);
        Self { handle, dispatcher, errors, backoff: *BACKOFF.start() }
    }

    /// Accepts until `stopped`.
    pub(super) async fn run<T>(
        &mut self,
        mut stopped: Pin<&mut (impl Future<Output = ()> + ?Sized)>,
    ) -> Result<(), ServeError>
    where
        T: Transport,
        S: ConnectionService<T>,
        E: Executor<ConnectionTask<S::ConnectionFuture>>,
    {
        loop {
            let accepted = poll_fn(|cx| {
                if stopped.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(None));
                }
                ready!(self.dispatcher.poll_ready(cx))?;
                self.handle.acceptor.poll_accept(cx).map(|accepted| Ok(Some(accepted)))
            });
            match accepted.await? {
                None => return Ok(()),
                Some(Ok(accepted)) => {
                    self.backoff = *BACKOFF.start();
                    self.dispatcher.call(self.handle.accepted(accepted))?;
                }
                Some(Err(error)) => {
                    if self.failed(error)?.is_break() {
                        tokio::select! {
                            () = stopped.as_mut() => return Ok(()),
                            () = tokio::time::sleep(self.backoff) => {}
                        }
                        self.backoff = (self.backoff * 2).min(*BACKOFF.end());
                    }
                }
            }
        }
    }

    /// Whether a successor serves and does not use the socket.
    pub(super) fn is_unclaimed(&self) -> bool {
        self.handle.acceptor.is_unclaimed()
    }

    /// Closes the socket of this process.
    ///
    /// `last`: no other process uses the socket. The connections in its queue are then served,
    /// because closing the socket would reset them, and a Unix path is removed.
    pub(super) async fn close<T>(mut self, last: bool) -> Result<(), ServeError>
    where
        T: Transport,
        S: ConnectionService<T>,
        E: Executor<ConnectionTask<S::ConnectionFuture>>,
    {
        if !last {
            return Ok(());
        }
        if self.handle.while_draining {
            let lifecycle = self.handle.lifecycle.clone();
            self.run(std::pin::pin!(async move { _ = lifecycle.drained().await })).await?;
        }
        // Before the queue is emptied, so that no connection arrives after that.
        if !self.handle.acceptor.is_kept() {
            let acceptor = self.handle.acceptor.clone();
            _ = tokio::task::spawn_blocking(move || acceptor.unlink()).await;
        }
        let queued = self.take_queue()?;
        let Self { handle, mut dispatcher, .. } = self;
        drop(handle);
        dispatcher.call_all(queued).await
    }

    /// Accepts all connections in the queue, even if the stack is not ready.
    fn take_queue(&mut self) -> Result<Vec<Accepted>, ServeError> {
        let mut queued = Vec::new();
        while queued.len() < QUEUE {
            match self.handle.acceptor.accept_queued() {
                Ok(Some(accepted)) => queued.push(self.handle.accepted(accepted)),
                Ok(None) => break,
                Err(error) => {
                    if self.failed(error)?.is_break() {
                        break;
                    }
                }
            }
        }
        Ok(queued)
    }

    /// Handles a failed accept(2): continues immediately, or (`Break`) after a delay.
    fn failed(&mut self, error: io::Error) -> Result<ControlFlow<()>, ServeError> {
        match self.errors.count(&error) {
            Class::Connection => Ok(ControlFlow::Continue(())),
            Class::Temporary => Ok(ControlFlow::Break(())),
            Class::Fatal => Err(ServeError::Accept { listener: self.handle.name.to_string(), source: error }),
        }
    }
}
