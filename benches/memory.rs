//! How many bytes does an idle connection take? Servers of bare tokio and of a whole stack, each a process of its own, hold
//! so many connections on which a ping has come and gone.
//!
//! ```text
//! cargo bench -p portcullis-benches --bench memory                          # the whole stack beside bare tokio
//! cargo bench -p portcullis-benches --bench memory -- --stack track         # what one layer costs
//! ```
//!
//! Counted is the memory that the server's process has of its own (`RssAnon` of proc_pid_status(5)), divided among the
//! connections, but for the first ones, which pay for what is shared. The echo has a small buffer: what a service needs is
//! not the layers'. What the kernel has for a socket is the same for both, and not in it.

mod rig;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
};

use clap::Parser;
use portcullis::layers::BoxError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use rig::{Client, Harness, Quartiles, Server, Stack, Tls, Work, end};

/// Bytes that the echo reads at a time.
const BUFFER: usize = 64;
/// Connections that come at the same time: no more than may be in their handshake.
const CROWD: usize = 100;
/// Connections that come first, and are not counted.
const FIRST: usize = 400;

#[derive(Debug, Parser)]
struct Options {
    /// What stands beside bare tokio: bare, listener, metrics, track, allowlist or full
    #[arg(long, default_value = "full")]
    stack: Stack,

    /// Connections that are counted
    #[arg(long, default_value_t = 4000)]
    connections: usize,

    /// Processes of each kind
    #[arg(long, default_value_t = 5)]
    rounds: u32,

    /// Be the server: how this program starts itself
    #[arg(long, hide = true)]
    serve: Option<Stack>,

    /// Serve TLS
    #[arg(long, hide = true)]
    tls: bool,

    #[command(flatten)]
    harness: Harness,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.harness.is_test() {
        (options.rounds, options.connections) = (1, CROWD);
    }
    let result = match options.serve {
        Some(stack) => serve(stack, options.tls),
        None => run(&options),
    };
    end("memory", result)
}

fn run(options: &Options) -> Result<(), BoxError> {
    let tls = Tls::new()?;
    println!("{:<5}  {:>12}  {:>12}  {:<22}", "work", Stack::Bare, options.stack, "ratio");
    for work in [Work::PingPong, Work::TlsPingPong] {
        let bytes = |stack| bytes_per_connection(stack, work, &tls, options.connections);
        let rounds = (0..options.rounds).map(|_| Ok((bytes(Stack::Bare)?, bytes(options.stack)?)));
        let rounds = rounds.collect::<Result<Vec<_>, BoxError>>()?;
        println!(
            "{:<5}  {:>10.0} B  {:>10.0} B  {:<22}",
            if work.is_tls() { "TLS" } else { "plain" },
            Quartiles::of(rounds.iter().map(|(bare, _)| *bare)).median,
            Quartiles::of(rounds.iter().map(|(_, other)| *other)).median,
            Quartiles::of(rounds.iter().map(|(bare, other)| other / bare)).to_string(),
        );
    }
    Ok(())
}

fn bytes_per_connection(stack: Stack, work: Work, tls: &Tls, connections: usize) -> Result<f64, BoxError> {
    let descriptors = raise_limit()?;
    // Some are for other things.
    if descriptors < (FIRST + connections + 100) as u64 {
        return Err(
            format!("{connections} connections are too many: {descriptors} descriptors may be open").into()
        );
    }
    let process = Process::start(stack, work.is_tls())?;
    let hold = |crowds| {
        let held = (0..crowds).map(|_| {
            let mut client = work.client(process.address, &tls.client, CROWD)?;
            client.turn()?;
            Ok::<Box<dyn Client>, BoxError>(client)
        });
        held.collect::<Result<Vec<_>, _>>()
    };
    let _first = hold(FIRST / CROWD)?;
    let before = process.memory()?;
    let others = hold(connections.div_ceil(CROWD))?;
    Ok((process.memory()? - before) / (others.len() * CROWD) as f64)
}

/// A server in a process of its own, which ends when this is dropped.
struct Process {
    address: SocketAddr,
    child: Child,
    // Its end is the server's.
    _stdin: ChildStdin,
}

impl Process {
    fn start(stack: Stack, tls: bool) -> Result<Self, BoxError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", stack.name()]).args(tls.then_some("--tls"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("both are pipes".into());
        };
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address)?;
        let address =
            address.trim_end().parse().map_err(|_| "the server has not started: see what it says above")?;
        Ok(Self { address, child, _stdin: stdin })
    }

    /// In bytes.
    fn memory(&self) -> Result<f64, BoxError> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes: f64 =
            line.and_then(|line| line.strip_suffix("kB")).ok_or("no RssAnon")?.trim().parse()?;
        Ok(kilobytes * 1024.)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn serve(stack: Stack, tls: bool) -> Result<(), BoxError> {
    raise_limit()?;
    let layer = tls.then(Tls::new).transpose()?.map(|tls| tls.layer);
    let server = Server::with_buffer(BUFFER, stack, layer.as_ref())?;
    println!("{}", server.address);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// As many descriptors as there may be; says how many that is.
fn raise_limit() -> Result<u64, BoxError> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}
