//! An echo server with all its layers: the main job of portcullis, end to end.
//!
//! `cargo run --example echo` starts it, and it says what to try. `--help` lists its options.

mod certificate;
mod log;
mod options;
mod service;
mod tls;

use std::{error::Error, process::ExitCode};

use clap::Parser;
use portcullis::{
    Config, Generation, GracefulListener, ListenAddr, StartCommand, Supervisor,
    admin::{Admin, AdminStack, Exporter},
    layers::{
        ErrorChain, LocalAddress,
        allowlist::{AllowlistLayer, Networks},
        metrics::MetricsLayer,
        tls::{MaybeTlsLayer, TlsLayer, TlsReloader},
        track::TrackLayer,
    },
};
use tokio::task::JoinSet;
use tower::ServiceBuilder;

use options::Options;

type AnyError = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let options = Options::parse();
    match start(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("echo: {}", ErrorChain(&*error));
            if let Some(hint) = portcullis::hint(&*error) {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<ExitCode, AnyError> {
    let config = options.config()?;
    log::install(config.log_path(), config.log_level()).map_err(|error| match config.log_path() {
        Some(path) => format!("cannot append to the log file `{}`: {error}", path.display()),
        None => error.to_string(),
    })?;
    let result = if options.supervise {
        // Before there is a runtime, or any other thread.
        let server = StartCommand::itself().without("--supervise");
        Supervisor::new(server).ready_timeout(config.ready_timeout()).run().map_err(AnyError::from)
    } else {
        serve_all(options, &config).map(|()| ExitCode::SUCCESS)
    };
    // Standard error is told by `main`.
    if let (Err(error), Some(_)) = (&result, config.log_path()) {
        let hint = portcullis::hint(&**error);
        tracing::error!(error = %ErrorChain(&**error), hint = hint.as_deref(), "cannot go on");
    }
    result
}

fn serve_all(options: &Options, config: &Config) -> Result<(), AnyError> {
    // Read before anything is taken over: a bad key must not get far.
    let tls = tls::layer(options, config)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = options.worker_threads {
        runtime.worker_threads(threads.get());
    }
    runtime.enable_all().build()?.block_on(run(config, tls))
}

async fn run(config: &Config, tls: Option<(TlsLayer, TlsReloader)>) -> Result<(), AnyError> {
    let exporter = Exporter::install()?;
    let generation = Generation::builder().config(config).start().await?;

    let (tls, reloader) = tls.unzip();
    let _tls = reloader.map(|reloader| generation.manage_tls("echo", reloader)).transpose()?;

    // All of them before the first is served: when all are, this generation is ready.
    let mut listeners = Vec::new();
    for (number, bind) in config.binds().iter().enumerate() {
        let name = if number == 0 { "echo".to_owned() } else { format!("echo-{}", number + 1) };
        listeners.push((generation.listen(&name, bind)?, bind));
    }
    let admin = match config.admin_bind() {
        Some(bind) => Some(generation.listen("admin", bind)?.accept_while_draining()),
        None => None,
    };
    if generation.number() == 1 {
        introduce(&listeners, admin.as_ref(), tls.is_some());
    }

    let mut serving = JoinSet::new();
    for (listener, bind) in listeners {
        // A Unix path is guarded by its mode, and its peers have no network.
        let allowlist = match bind.path() {
            Some(_) => None,
            None => Some(config.allowlist_layer().map_or_else(loopback, Ok)?),
        };
        serving.spawn(serve(listener, &generation, allowlist, tls.clone()));
    }
    if let Some(admin) = admin {
        serving.spawn(admin.serve(AdminStack::new(Admin::new(&generation, exporter))));
    }
    while let Some(served) = serving.join_next().await {
        served??;
    }
    Ok(())
}

/// The stack: from the outside in.
fn serve(
    listener: GracefulListener,
    generation: &Generation,
    allowlist: Option<AllowlistLayer>,
    tls: Option<TlsLayer>,
) -> impl Future<Output = Result<portcullis::Drained, portcullis::ServeError>> + Send + 'static {
    let stack = ServiceBuilder::new()
        .layer(MetricsLayer::new(listener.name()))
        .layer(TrackLayer::new(generation.tracker()).listener(listener.name()))
        .option_layer(allowlist)
        .layer(MaybeTlsLayer::from(tls))
        .service_fn(service::echo);
    listener.serve(stack)
}

/// Who may connect where nothing is said.
fn loopback() -> Result<AllowlistLayer, AnyError> {
    Ok("127.0.0.0/8,::1/128".parse::<Networks>()?.into())
}

/// Says what there is and what to try. The log goes on from there.
fn introduce(listeners: &[(GracefulListener, &ListenAddr)], admin: Option<&GracefulListener>, tls: bool) {
    let pid = std::process::id();
    eprintln!("echo serves as process {pid}. Try:\n");
    for (listener, _) in listeners {
        let command = match (listener.local_address(), tls) {
            (LocalAddress::Ip(at), false) => format!("nc {} {}", at.ip(), at.port()),
            (LocalAddress::Ip(at), true) => format!("openssl s_client -quiet -no_ign_eof -connect {at}"),
            (LocalAddress::Unix(Some(path)), false) => format!("nc -U {}", path.display()),
            (LocalAddress::Unix(Some(path)), true) => {
                format!("openssl s_client -quiet -no_ign_eof -unix {}", path.display())
            }
            _ => continue,
        };
        eprintln!("  {command}");
    }
    let pages = "(and /connections, /healthz, /readyz)";
    match admin.map(GracefulListener::local_address) {
        Some(LocalAddress::Ip(at)) => eprintln!("  curl -s http://{at}/metrics        {pages}"),
        Some(LocalAddress::Unix(Some(path))) => {
            eprintln!("  curl -s --unix-socket {} http://localhost/metrics        {pages}", path.display());
        }
        _ => {}
    }
    if tls {
        eprintln!(
            "  kill -HUP {pid}         read certificates, keys and revocation lists again; changed files are seen anyway"
        );
    }
    eprintln!("  kill -USR1 {pid}        a new process takes over the sockets; this one finishes and leaves");
    eprintln!("  kill -TERM {pid}        finish, then exit; again: exit at once\n");
}
