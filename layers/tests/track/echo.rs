//! A leaf for any connection.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use portcullis_layers::{BoxError, Connection};
use tokio::io::AsyncWriteExt;
use tower::Service;

/// Echoes any connection until the client is done, and is done then itself.
#[derive(Clone)]
pub(crate) struct Echo;

impl<C: Connection> Service<C> for Echo {
    type Response = ();
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, connection: C) -> Self::Future {
        Box::pin(async move {
            let (mut reader, mut writer) = tokio::io::split(connection);
            tokio::io::copy(&mut reader, &mut writer).await?;
            Ok(writer.shutdown().await?)
        })
    }
}
