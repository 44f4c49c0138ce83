//! Where connections run.

/// Runs the future of each connection: this is how the concurrency model is replaced.
///
/// `F` is a [`ConnectionTask`](super::ConnectionTask). An executor that runs futures on one thread
/// implements this without `F: Send`; the stack it serves may then be `!Send`, too. A future that is
/// dropped closes its connection.
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
    /// Runs the future to its end, at once or later.
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
