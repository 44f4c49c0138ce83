//! How much slower is it through portcullis? Bare tokio and a whole stack do the same work in short rounds that alternate
//! within one process, so that a machine that speeds up or slows down does so for both.
//!
//! ```text
//! cargo bench --bench ratios                                    # the whole stack beside bare tokio
//! cargo bench --bench ratios -- --stack track --work churn      # what one layer costs, for one kind of work
//! cargo bench --bench ratios -- --stack bare                    # the same on both sides: how far to trust the rest
//! ```
//!
//! The table has two ratios. *Rate* is the work done in the same time: under 1.000 means less of it. *Processor* is the time that
//! the server's thread was running for the same work: over 1.000 means more. The rate is what a client sees; where the client
//! holds up the server (its thread is less than all *busy*) the processor time says more. Both are medians of the rounds' ratios,
//! with their quartiles in brackets.

mod rig;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use portcullis::layers::BoxError;

use rig::{Client, Server, Stack, Tls, Work};

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

    /// One very short round: does it run?
    #[arg(long)]
    test: bool,

    // Given by cargo bench; not given by cargo test.
    #[arg(long, hide = true)]
    bench: bool,

    #[arg(long, hide = true)]
    nocapture: bool,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.test || !options.bench {
        options.rounds = 1;
        options.length = 1;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ratios: {error}");
            ExitCode::FAILURE
        }
    }
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
        let mut bare = Side::new(work, Server::start(Stack::Bare, layer)?, &tls, options)?;
        let mut other = Side::new(work, Server::start(options.stack, layer)?, &tls, options)?;
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

/// A server and the client that loads it.
struct Side {
    // Dropped first: the server would wait for nobody, but has less to clear away.
    client: Box<dyn Client>,
    server: Server,
}

/// What one side did in one round.
struct Sample {
    work: u64,
    took: Duration,
    processor: Duration,
}

impl Side {
    fn new(work: Work, server: Server, tls: &Tls, options: &Options) -> Result<Self, BoxError> {
        let connections = match work {
            // A few are enough to keep the server busy, and their buffers stay in the caches.
            Work::Streaming | Work::TlsStreaming => 4,
            _ => options.connections,
        };
        let client = work.client(server.address, &tls.client, connections)?;
        Ok(Self { client, server })
    }

    fn measure(&mut self, length: Duration) -> Result<Sample, BoxError> {
        let processor = self.server.processor_time()?;
        let began = Instant::now();
        let mut work = 0;
        loop {
            work += self.client.turn()?;
            let took = began.elapsed();
            if took >= length {
                let processor = self.server.processor_time()? - processor;
                return Ok(Sample { work, took, processor });
            }
        }
    }
}

impl Sample {
    /// Work in a second.
    fn rate(&self) -> f64 {
        self.work as f64 / self.took.as_secs_f64()
    }

    /// Seconds of the server's processor for a unit of work.
    fn cost(&self) -> f64 {
        self.processor.as_secs_f64() / self.work as f64
    }

    /// The share of the time in which the server was running.
    fn busy(&self) -> f64 {
        self.processor.as_secs_f64() / self.took.as_secs_f64()
    }
}

struct Quartiles {
    lower: f64,
    median: f64,
    upper: f64,
}

impl Quartiles {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |quarter: usize| values.get((values.len().saturating_sub(1)) * quarter / 4);
        let value = |quarter| at(quarter).copied().unwrap_or(f64::NAN);
        Self { lower: value(1), median: value(2), upper: value(3) }
    }
}

impl std::fmt::Display for Quartiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} [{:.3} {:.3}]", self.median, self.lower, self.upper)
    }
}
