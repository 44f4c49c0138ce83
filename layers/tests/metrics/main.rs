//! What is counted, and that it adds up.

mod bytes;
#[path = "../certificates/mod.rs"]
mod certificates;
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
#[path = "../within/mod.rs"]
mod within;

use std::future::Future;

use portcullis_layers::{BoxError, Connection, metrics::Metered};
use tokio::task::JoinHandle;
use tower::{Layer, ServiceExt, service_fn};

use recorded::Recorded;
use within::within;

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
