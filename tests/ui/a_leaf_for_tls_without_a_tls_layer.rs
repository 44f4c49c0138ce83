use std::{
    future::{Ready, ready},
    io,
    task::{Context, Poll},
};

use portcullis::{Accepted, GracefulListener, layers::tls::TlsStream};
use tower::Service;

struct Leaf;

impl Service<TlsStream<Accepted>> for Leaf {
    type Response = ();
    type Error = io::Error;
    type Future = Ready<io::Result<()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: TlsStream<Accepted>) -> Self::Future {
        ready(Ok(()))
    }
}

async fn serve(listener: GracefulListener) {
    listener.serve(Leaf).await.unwrap();
}

fn main() {}
