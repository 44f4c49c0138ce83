//! How much slower is it through portcullis? Bare tokio and a whole stack do the same work in short rounds that alternate
//! within one process, so that a machine that speeds up or slows down does so for both.
//!
//! ```text
//! cargo bench -p portcullis-benches --bench ratios                                    # the whole stack beside bare tokio
//! cargo bench -p portcullis-benches --bench ratios -- --stack track --work churn      # what one layer costs, for one kind of work
//! cargo bench -p portcullis-benches --bench ratios -- --stack bare                    # the same on both sides: how far to trust the rest
//! ```
//!
//! The table has two ratios. *Rate* is the work done in the same time: under 1.000 means less of it. *Processor* is the time that
//! the server's thread was running for the same work: over 1.000 means more. The rate is what a client sees; where the client
//! holds up the server (its thread is less than all *busy*) the processor time says more. Both are medians of the rounds' ratios,
//! with their quartiles in brackets.

mod rig;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use portcullis::layers::BoxError;

use rig::{Harness, Quartiles, Sample, Server, Side, Stack, Tls, Work, end};

#[derive(Debug, Parser)]
struct Options {
    /// What stands beside bare tokio: bare, listener, metrics, track, allowlist or full
    #[arg(long, default_value = "full")]
    stack: Stack,

    /// Only the works with this in their name
    #[arg(long, default_value = "")]
    work: String,

    /// Rounds of each work
    #[arg(long, default_value_t = 60)]
    rounds: u32,

    /// Milliseconds that one side of a round takes
    #[arg(long, default_value_t = 50)]
    length: u64,

    /// Connections that the client has at once, where it makes new ones or pings
    #[arg(long, default_value_t = 16)]
    connections: usize,

    #[command(flatten)]
    harness: Harness,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.harness.is_test() {
        options.rounds = 1;
        options.length = 1;
    }
    end("ratios", run(&options))
}

fn run(options: &Options) -> Result<(), BoxError> {
    let tls = Tls::new()?;
    println!(
        "{:<15}  {:>22}  {:>22}  {:<22}  {:<22}  busy",
        "work",
        format!("{} (median)", Stack::Bare),
        format!("{} (median)", options.stack),
        "rate",
        "processor",
    );
    for work in Work::ALL.into_iter().filter(|work| work.name().contains(&options.work)) {
        let layer = work.is_tls().then_some(&tls.layer);
        let side = |stack| {
            let server = Server::start(stack, layer)?;
            let connections = match work {
                // A few are enough to keep the server busy, and their buffers stay in the caches.
                Work::Streaming | Work::TlsStreaming => 4,
                _ => options.connections,
            };
            let client = work.client(server.address, &tls.client, connections)?;
            Ok::<_, BoxError>(Side::new(server, client))
        };
        let (mut bare, mut other) = (side(Stack::Bare)?, side(options.stack)?);
        let length = Duration::from_millis(options.length);

        // Not counted: caches, buffers and branch predictors get warm.
        bare.measure(length)?;
        other.measure(length)?;
        let mut rounds = Vec::new();
        for round in 0..options.rounds {
            // Whoever is second finds caches that the first one used; they take turns.
            rounds.push(if round % 2 == 0 {
                let bare = bare.measure(length)?;
                (bare, other.measure(length)?)
            } else {
                let other = other.measure(length)?;
                (bare.measure(length)?, other)
            });
        }
        print(work, &rounds);
    }
    Ok(())
}

fn print(work: Work, rounds: &[(Sample, Sample)]) {
    let bares = || rounds.iter().map(|(bare, _)| bare);
    let others = || rounds.iter().map(|(_, other)| other);
    let rates = rounds.iter().map(|(bare, other)| other.rate() / bare.rate());
    let costs = rounds.iter().map(|(bare, other)| other.cost() / bare.cost());
    println!(
        "{:<15}  {:>22}  {:>22}  {:<22}  {:<22}  {:.0}% / {:.0}%",
        work.name(),
        amount(Quartiles::of(bares().map(Sample::rate)).median, work),
        amount(Quartiles::of(others().map(Sample::rate)).median, work),
        Quartiles::of(rates).to_string(),
        Quartiles::of(costs).to_string(),
        100. * Quartiles::of(bares().map(Sample::busy)).median,
        100. * Quartiles::of(others().map(Sample::busy)).median,
    );
}

fn amount(rate: f64, work: Work) -> String {
    match work.unit() {
        "bytes" => format!("{:.0} MB/s", rate / 1e6),
        "round trips" => format!("{rate:.0} trips/s"),
        _ => format!("{rate:.0} conn/s"),
    }
}
