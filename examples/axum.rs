//! An axum router behind an allowlist and TLS, drained and restarted without losing a request.
//!
//! ```text
//! cargo run --example axum
//! curl -k https://127.0.0.1:8443/          who calls, and over which TLS
//! curl -k https://127.0.0.1:8443/slow &    an answer that takes five seconds
//! kill -USR1 <pid>                         the next process takes over; the slow answer still comes
//! kill -TERM <pid>                         drains, then leaves
//! ```
//!
//! `BIND` is the address (`tcp://127.0.0.1:8443`), `TLS_CERTIFICATE` and `TLS_KEY` are PEM files. Without them each
//! process makes itself a certificate, which no client knows: that is good for trying things, and nothing else.

use std::{env, io::IsTerminal, sync::Arc, time::Duration};

use axum::{Extension, Router, routing::get};
use portcullis::{
    Generation,
    http::HttpLeaf,
    layers::{BoxError, Peer, TlsInfo, allowlist::AllowlistLayer, tls::TlsLayer},
};
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().log_internal_errors(false).with_ansi(std::io::stdout().is_terminal()).init();
    let bind = env::var("BIND").unwrap_or_else(|_| "tcp://127.0.0.1:8443".to_owned());

    // First of its line, or started by the process that it takes over from.
    let generation = Generation::builder().start().await?;
    let listener = generation.listen("https", &bind)?;

    let router = Router::new().route("/", get(hello)).route("/slow", get(slow));
    let stack = ServiceBuilder::new()
        .layer(AllowlistLayer::new(["127.0.0.0/8".parse()?, "::1/128".parse()?]))
        .layer(tls()?)
        .service(HttpLeaf::new(router));

    // Returns when the process has handed over or was told to stop, and every request is answered.
    listener.serve(stack).await?;
    Ok(())
}

/// Says who calls. What the connection knows is in the extensions of each request.
async fn hello(Extension(peer): Extension<Peer>, Extension(tls): Extension<Arc<TlsInfo>>) -> String {
    format!("hello, {peer}, over {}; this is process {}\n", tls.version, std::process::id())
}

async fn slow() -> String {
    tokio::time::sleep(Duration::from_secs(5)).await;
    format!("process {} has not forgotten you\n", std::process::id())
}

/// TLS with the files that are configured, or with a certificate of its own.
fn tls() -> Result<TlsLayer, BoxError> {
    // What curl and browsers choose HTTP/2 by.
    let builder = TlsLayer::builder().alpn(["h2", "http/1.1"]);
    let builder = match (env::var_os("TLS_CERTIFICATE"), env::var_os("TLS_KEY")) {
        (Some(certificate), Some(key)) => builder.certificate_files(certificate, key),
        (None, None) => {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
            builder.certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
        }
        _ => return Err("TLS_CERTIFICATE and TLS_KEY belong together: set both or neither".into()),
    };
    Ok(builder.build()?)
}
