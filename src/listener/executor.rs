//! Executors that run connections.

/// Runs the future of each connection. Implement it to replace the concurrency model.
///
/// `F` is a [`ConnectionTask`](super::ConnectionTask). An executor that runs futures on one thread
/// implements this without `F: Send`; its stack may then be `!Send`. Dropping the future closes the
/// connection.
///
/// ```
/// use portcullis::Executor;
///
/// /// Runs every connection on the thread that accepts it. Serve within a `tokio::task::LocalSet`.
/// struct LocalExecutor;
///
/// impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
///     fn execute(&self, connection: F) {
///         tokio::task::spawn_local(connection);
///     }
/// }
/// ```
pub trait Executor<F> {
    /// Runs the future to completion, immediately or later.
    fn execute(&self, connection: F);
}

/// A tokio task for each connection, on the current runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioExecutor;

impl<F> Executor<F> for TokioExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, connection: F) {
        tokio::spawn(connection);
    }
}
