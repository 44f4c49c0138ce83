//! What does a restart cost those who connect meanwhile? Clients come and go as fast as they can, in short windows that alternate:
//! one without a restart, one with a restart in its middle.
//!
//! ```text
//! cargo bench -p portcullis-benches --bench restarts                        # 50 restarts
//! cargo bench -p portcullis-benches --bench restarts -- --restarts 1000     # does one in a thousand lose anybody?
//! ```
//!
//! *Gap* is the longest time in a window in which no new connection was served, as the clients see it; *commit* the time from the
//! request for a restart to its commit, which is mostly the start of a process. The gap beside a busy start of a process is not the
//! handoff's alone: compare it with `--no-handoff`, where a process of the same kind is started that takes over nothing.

mod line;
mod load;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use portcullis::layers::BoxError;

use line::Line;
use load::Load;

#[derive(Debug, Parser)]
struct Options {
    /// Windows of each kind
    #[arg(long, default_value_t = 50)]
    restarts: usize,

    /// Milliseconds that a window takes
    #[arg(long, default_value_t = 200)]
    length: u64,

    /// Clients at the same time
    #[arg(long, default_value_t = 8)]
    clients: usize,

    /// Start a process in place of each restart, and hand over nothing
    #[arg(long)]
    no_handoff: bool,

    /// One window: does it run?
    #[arg(long)]
    test: bool,

    /// Be the server: how this program starts itself
    #[arg(long, hide = true)]
    serve: Option<std::net::SocketAddr>,

    // Given by cargo bench; not given by cargo test.
    #[arg(long, hide = true)]
    bench: bool,

    #[arg(long, hide = true)]
    nocapture: bool,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.serve.is_none() && (options.test || !options.bench) {
        options.restarts = 1;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(BoxError::from).and_then(|runtime| {
        runtime.block_on(async {
            match options.serve {
                Some(address) => line::serve(address).await,
                None => run(&options).await,
            }
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("restarts: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), BoxError> {
    let mut line = Line::start().await?;
    let length = Duration::from_millis(options.length);
    let mut load = Load::on(line.address(), options.clients);
    // The first connections find everything cold.
    load.window(length, async { Ok(()) }).await?;

    let (mut quiet, mut restarted, mut commits) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.restarts {
        quiet.push(load.window(length, async { Ok(()) }).await?);
        let meanwhile = async {
            tokio::time::sleep(length / 4).await;
            if options.no_handoff {
                line.start_beside().await
            } else {
                commits.push(line.restart().await?);
                Ok(())
            }
        };
        restarted.push(load.window(length, meanwhile).await?);
    }
    let (visits, failures) = load.stop().await;
    line.stop().await?;

    let mut ratios: Vec<f64> =
        quiet.iter().zip(&restarted).map(|(quiet, with)| with.as_secs_f64() / quiet.as_secs_f64()).collect();
    println!("{} restarts, {visits} connections, {failures} of them failed\n", commits.len());
    println!("{:<34}  {:>9}  {:>9}  {:>9}  {:>9}", "milliseconds", "median", "90 %", "99 %", "longest");
    row("gap without a restart", &mut quiet);
    row("gap with a restart", &mut restarted);
    if !commits.is_empty() {
        row("from request to commit", &mut commits);
    }
    ratios.sort_by(f64::total_cmp);
    println!("\nratio of the gaps, with to without: {:.2} (median of the pairs)", ratios[ratios.len() / 2]);
    if failures > 0 {
        return Err(format!("{failures} clients were let down").into());
    }
    Ok(())
}

fn row(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |share: f64| {
        // An index within: the share is below one.
        let index = (times.len() as f64 * share) as usize;
        times[index.min(times.len() - 1)].as_secs_f64() * 1e3
    };
    println!("{what:<34}  {:>9.3}  {:>9.3}  {:>9.3}  {:>9.3}", at(0.5), at(0.9), at(0.99), at(1.0));
}
