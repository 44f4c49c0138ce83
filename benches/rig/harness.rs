//! What every benchmark is told by cargo, and how it ends.

use std::process::ExitCode;

use clap::Args;
use portcullis::layers::BoxError;

/// The options that all have.
#[derive(Debug, Args)]
pub(crate) struct Harness {
    /// One very short round: does it run?
    #[arg(long)]
    test: bool,

    // Given by cargo bench; not given by cargo test.
    #[arg(long, hide = true)]
    bench: bool,

    #[arg(long, hide = true)]
    nocapture: bool,
}

impl Harness {
    /// Whether nothing is to be measured.
    pub(crate) const fn is_test(&self) -> bool {
        self.test || !self.bench
    }
}

/// Tells what was wrong with this benchmark, if anything was.
pub(crate) fn end(benchmark: &str, result: Result<(), BoxError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{benchmark}: {error}");
            ExitCode::FAILURE
        }
    }
}
