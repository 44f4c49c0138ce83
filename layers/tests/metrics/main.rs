//! What is counted, and that it adds up.

mod bytes;
mod compose;
#[path = "../track/echo.rs"]
mod echo;
mod endings;
mod failing;
mod recorded;
mod series;
mod tls;
#[path = "../track/vectored.rs"]
mod vectored;

use std::{future::Future, time::Duration};

use portcullis_layers::{BoxError, Connection, metrics::Metered};
use tokio::task::JoinHandle;
use tower::{Layer, ServiceExt, service_fn};

use recorded::Recorded;

/// The deadline of everything here that should come at once. It does not poll the future once more when the time is up.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::select! {
        biased;
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("should have come long ago"),
        output = future => output,
    }
}

/// Serves one connection in a task of its own, with the stream handed to `leaf`.
fn serve<C, F>(
    recorded: &Recorded,
    connection: C,
    leaf: impl FnOnce(Metered<C>) -> F + Clone + Send + 'static,
) -> JoinHandle<Result<(), BoxError>>
where
    C: Connection,
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let service = recorded.layer().layer(service_fn(move |stream| (leaf.clone())(stream)));
    tokio::spawn(service.oneshot(connection))
}
