//! Two layers of your own: one that talks before the service does, one that wraps the stream.
//!
//! ```text
//! cargo run --example custom_layer
//! nc 127.0.0.1 6789
//! ```
//!
//! `greet.rs` is a layer that awaits something and then calls the service above it; it hands the stream on as it is.
//! `count.rs` is a layer that changes the stream's type; its wrapper shows what a `Connection` of your own
//! has to forward. Both work under and above every layer of portcullis.

mod count;
mod greet;

use std::io::IsTerminal;

use portcullis::{
    Generation,
    layers::{BoxError, Connection},
};
use tower::ServiceBuilder;

use self::{count::CountLayer, greet::GreetLayer};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().log_internal_errors(false).with_ansi(std::io::stdout().is_terminal()).init();
    let generation = Generation::builder().start().await?;
    let listener = generation.listen("greeter", "tcp://127.0.0.1:6789")?;

    // Read from the socket inwards: the counter is outside, so it counts the greeting as well.
    let stack = ServiceBuilder::new()
        .layer(CountLayer)
        .layer(GreetLayer::new("hello; I repeat what you say\n"))
        .service_fn(repeat);

    listener.serve(stack).await?;
    Ok(())
}

/// The leaf: knows nothing of layers, and takes whatever stream they make.
async fn repeat<C: Connection>(connection: C) -> Result<(), BoxError> {
    let (mut reader, mut writer) = tokio::io::split(connection);
    tokio::io::copy(&mut reader, &mut writer).await?;
    Ok(())
}
