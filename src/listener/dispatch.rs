//! From an accepted connection to a task: `call`, spawn.

use std::{
    future::poll_fn,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    task::{Context, Poll},
};

use portcullis_layers::{CloseReason, Closed, Connection, LocalAddress};

use super::{
    ConnectionService, ConnectionTask, Executor, ServeError,
    accepted::{Accepted, Transport},
    handle::ListenerHandle,
};
use crate::{handoff::HandoffError, lifecycle::Lifecycle};

/// A stack, and where its connections run.
pub(super) struct Dispatcher<S, E> {
    lifecycle: Arc<Lifecycle<HandoffError>>,
    listener: Arc<str>,
    local: LocalAddress,
    while_draining: bool,
    executor: E,
    service: S,
}

impl<S, E> Dispatcher<S, E> {
    pub(super) fn new(handle: &ListenerHandle, executor: E, service: S) -> Self {
        Self {
            lifecycle: handle.lifecycle.clone(),
            listener: handle.name.clone(),
            local: handle.acceptor.local_address().clone(),
            while_draining: handle.while_draining,
            executor,
            service,
        }
    }

    /// Whether the stack takes a connection now. Its error is turned into ours here: it need not be `Send`, and the
    /// accept loop is.
    pub(super) fn poll_ready<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ServeError>>
    where
        S: ConnectionService<T>,
    {
        self.service.poll_ready(cx).map_err(|error| ServeError::Service {
            listener: self.listener.to_string(),
            source: error.into(),
        })
    }

    /// An error that the stack has from the start.
    pub(super) fn check<T>(&mut self) -> Result<(), ServeError>
    where
        S: ConnectionService<T>,
    {
        match self.poll_ready(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Serves a connection; the stack must be ready.
    pub(super) fn call<T>(&mut self, accepted: Accepted) -> Result<(), ServeError>
    where
        T: Transport,
        S: ConnectionService<T>,
        E: Executor<ConnectionTask<S::ConnectionFuture>>,
    {
        let (listener, peer) = (self.listener.clone(), accepted.peer());
        let Some(stream) = T::from_accepted(accepted) else {
            return Err(wrong_transport::<T>(&listener, &self.local));
        };
        // A panic in `call` concerns its connection, as one in the future does, and not the accept loop. The service
        // is used again after it; so is what tower's layers hold in it, which is whole at every call.
        let call = AssertUnwindSafe(|| self.service.call(stream));
        let Ok(life) = panic::catch_unwind(call) else {
            log!(error, listener = &*listener, %peer, reason = %CloseReason::Service, "service panicked");
            return Ok(());
        };
        let open = self.lifecycle.open(self.while_draining);
        self.executor.execute(ConnectionTask::new(life, listener, peer, open.forced(), open.connection()));
        Ok(())
    }

    /// Serves these, each when the stack is ready for it, up to the deadline of the drain.
    pub(super) async fn call_all<T>(&mut self, accepted: Vec<Accepted>) -> Result<(), ServeError>
    where
        T: Transport,
        S: ConnectionService<T>,
        E: Executor<ConnectionTask<S::ConnectionFuture>>,
    {
        let mut forced = std::pin::pin!(self.forced());
        for accepted in accepted {
            tokio::select! {
                biased;
                _ = &mut forced => return Ok(()),
                ready = poll_fn(|cx| self.poll_ready(cx)) => ready?,
            }
            self.call(accepted)?;
        }
        Ok(())
    }

    fn forced(&self) -> Closed {
        self.lifecycle.open(self.while_draining).forced()
    }
}

pub(super) fn wrong_transport<T: Transport>(listener: &str, address: &LocalAddress) -> ServeError {
    ServeError::Transport {
        listener: listener.to_owned(),
        address: address.to_string(),
        wanted: T::KIND.unwrap_or("any"),
    }
}
