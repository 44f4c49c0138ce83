use std::io;

use portcullis::{Accepted, GracefulListener};
use tower::service_fn;

async fn leaf(_: Accepted) -> io::Result<usize> {
    Ok(7)
}

async fn serve(listener: GracefulListener) {
    listener.serve(service_fn(leaf)).await.unwrap();
}

fn main() {}
