//! Asks a server over its control path, waits, and says what came of it: what a deploy script calls.
//!
//! `cargo run --example ctl -- PATH restart|drain|status|connections`, where PATH is what the server was given as
//! `--takeover`. Exits with 0 if it was done, with 1 and the reason on standard error if not, with 2 if the arguments are
//! wrong. For scripts, `--json` prints JSON to standard output, also for a restart that failed.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use portcullis::{
    control::{Client, ControlError, OpenConnection, Status},
    layers::ErrorChain,
};
use serde_json::json;

/// Asks a portcullis server over its control path.
#[derive(Debug, Parser)]
#[command(name = "ctl", version)]
struct Options {
    /// The control path of the server: what it was given as `--takeover`
    path: PathBuf,

    /// What to ask for
    command: Command,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Command {
    /// Start a successor that takes over, and wait until it serves or has failed
    Restart,
    /// Accept no more, finish what is open, end; wait until that is done
    Drain,
    /// Where the server stands
    Status,
    /// Who is connected
    Connections,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    match ask(&options).await {
        Ok(said) => {
            print(&said);
            ExitCode::SUCCESS
        }
        Err(error) => {
            if let (true, ControlError::RestartFailed { result, reason, .. }) = (options.json, &error) {
                print(&json!({ "result": result.as_str(), "reason": reason }).to_string());
            }
            eprintln!("ctl: {}", ErrorChain(&error));
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What is to be printed.
async fn ask(options: &Options) -> Result<String, ControlError> {
    let client = Client::connect(&options.path).await?;
    let json = options.json;
    Ok(match options.command {
        Command::Restart => {
            let restarted = client.restart().await?;
            let (pid, generation, took) = (restarted.pid, restarted.generation, restarted.took);
            if json {
                let took = took.as_secs_f64();
                json!({ "result": "succeeded", "pid": pid, "generation": generation, "took_seconds": took })
                    .to_string()
            } else {
                format!("restarted: process {pid} serves as generation {generation}, after {took:.1?}")
            }
        }
        Command::Drain => match client.drain().await?.forced {
            forced if json => json!({ "forced": forced }).to_string(),
            0 => "drained: every connection came to its end".to_owned(),
            forced => format!("drained: {forced} connections were closed at the deadline"),
        },
        Command::Status => {
            let status = client.status().await?;
            if json { json!(status).to_string() } else { show_status(&status) }
        }
        Command::Connections => {
            let connections = client.connections().await?;
            if json { json!(connections).to_string() } else { show_connections(&connections) }
        }
    })
}

fn show_status(status: &Status) -> String {
    let Status { phase, generation, pid, connections, version, .. } = status;
    let uptime = seconds(status.uptime_seconds);
    let mut lines = vec![
        format!("{phase}: generation {generation}, process {pid}, for {uptime}, portcullis {version}"),
        format!("{connections} connections"),
    ];
    lines.extend(status.listeners.iter().map(|it| format!("listens on {} ({})", it.address, it.name)));
    lines.extend(
        status.draining.iter().map(|it| format!("generation {} drains, process {}", it.generation, it.pid)),
    );
    lines.join("\n")
}

fn show_connections(connections: &[OpenConnection]) -> String {
    let mut lines = vec![format!(
        "{:>8}  {:<16}  {:<24}  {:>12}  {:>12}  {:>12}  {:<11}  {:<7}  {}",
        "id", "listener", "peer", "age", "read", "written", "activity", "tls", "identity"
    )];
    lines.extend(connections.iter().map(|it| {
        format!(
            "{:>8}  {:<16}  {:<24}  {:>12}  {:>12}  {:>12}  {:<11}  {:<7}  {}",
            it.id,
            it.listener.as_deref().unwrap_or("-"),
            it.peer,
            seconds(it.age_seconds),
            it.bytes_read,
            it.bytes_written,
            it.activity,
            it.tls.as_deref().unwrap_or("-"),
            it.identity.as_deref().unwrap_or("-"),
        )
    }));
    lines.join("\n")
}

fn seconds(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.trunc()).unwrap_or_default();
    humantime::format_duration(whole).to_string()
}

/// A reader that went away (`ctl … | head`) is no failure.
fn print(text: &str) {
    use std::io::Write;

    _ = writeln!(std::io::stdout(), "{text}");
}
