//! A callback of the application, which runs in a task of its own and within a limit.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use portcullis_layers::{BoxError, ErrorChain};
use tokio_util::task::AbortOnDropHandle;

use crate::sys::within;

type Running<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// See the module.
pub(crate) struct Callback<T>(Arc<dyn Fn() -> Running<T> + Send + Sync>);

/// Why a callback has returned nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallbackError {
    /// It returned this error.
    Failed(String),
    Panicked,
    TimedOut,
}

impl<T: Send + 'static> Callback<T> {
    pub(crate) fn new<F, R, E>(callback: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Arc::new(move || {
            let running = callback();
            Box::pin(async move { running.await.map_err(Into::into) })
        }))
    }

    /// Runs it. The task ends when the future is dropped, and at the limit.
    pub(super) async fn run(self, limit: Duration) -> Result<T, CallbackError> {
        // Called within the task, which catches a panic.
        let mut running = AbortOnDropHandle::new(tokio::spawn(async move { (self.0)().await }));
        match within(limit, &mut running).await {
            Some(Ok(Ok(value))) => Ok(value),
            Some(Ok(Err(error))) => Err(CallbackError::Failed(ErrorChain(&*error).to_string())),
            Some(Err(_)) => Err(CallbackError::Panicked),
            None => Err(CallbackError::TimedOut),
        }
    }
}

// By hand: `T` need not be `Clone`.
impl<T> Clone for Callback<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Callback<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").finish_non_exhaustive()
    }
}
