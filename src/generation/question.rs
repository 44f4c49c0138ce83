//! A question to the application: a closure of its own, asked in a task of its own and under a limit.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use portcullis_layers::{BoxError, ErrorChain};
use tokio_util::task::AbortOnDropHandle;

use crate::sys::within;

type Answering<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// See the module.
pub(super) struct Question<T>(Arc<dyn Fn() -> Answering<T> + Send + Sync>);

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The application says so, for this reason.
    Failed(String),
    Panicked,
    TimedOut,
}

impl<T: Send + 'static> Question<T> {
    pub(super) fn new<F, R, E>(ask: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Arc::new(move || {
            let asked = ask();
            Box::pin(async move { asked.await.map_err(Into::into) })
        }))
    }

    /// Asks. Dropping the future, or its limit, ends the task.
    pub(super) async fn ask(self, limit: Duration) -> Result<T, NoAnswer> {
        // Called within the task, so that a panic in it is the task's.
        let mut asking = AbortOnDropHandle::new(tokio::spawn(async move { (self.0)().await }));
        match within(limit, &mut asking).await {
            Some(Ok(Ok(answer))) => Ok(answer),
            Some(Ok(Err(error))) => Err(NoAnswer::Failed(ErrorChain(&*error).to_string())),
            Some(Err(_)) => Err(NoAnswer::Panicked),
            None => Err(NoAnswer::TimedOut),
        }
    }
}

// By hand: an answer need not be `Clone` for its question to be.
impl<T> Clone for Question<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Question<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").finish_non_exhaustive()
    }
}
