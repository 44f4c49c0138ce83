use std::io;

use portcullis::{
    Accepted, GracefulListener,
    layers::{allowlist::AllowlistLayer, tls::TlsLayer},
};
use tower::ServiceBuilder;

async fn leaf(_: Accepted) -> io::Result<()> {
    Ok(())
}

async fn serve(listener: GracefulListener, allowlist: AllowlistLayer, tls: TlsLayer) {
    let stack = ServiceBuilder::new().layer(allowlist).layer(tls).service_fn(leaf);
    listener.serve(stack).await.unwrap();
}

fn main() {}
