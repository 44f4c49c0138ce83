//! What a server did in a while, and what to make of many such.

use std::{
    fmt,
    time::{Duration, Instant},
};

use portcullis::layers::BoxError;

use super::{Client, Server};

/// A server and the client that loads it.
pub(crate) struct Side {
    // Dropped first: the server would wait for nobody, but has less to clear away.
    client: Box<dyn Client>,
    server: Server,
}

/// What one side did in one round.
pub(crate) struct Sample {
    work: u64,
    took: Duration,
    processor: Duration,
}

impl Side {
    pub(crate) fn new(server: Server, client: Box<dyn Client>) -> Self {
        Self { client, server }
    }

    pub(crate) fn measure(&mut self, length: Duration) -> Result<Sample, BoxError> {
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
    pub(crate) fn rate(&self) -> f64 {
        self.work as f64 / self.took.as_secs_f64()
    }

    /// Seconds of the server's processor for a unit of work.
    pub(crate) fn cost(&self) -> f64 {
        self.processor.as_secs_f64() / self.work as f64
    }

    /// The share of the time in which the server was running.
    pub(crate) fn busy(&self) -> f64 {
        self.processor.as_secs_f64() / self.took.as_secs_f64()
    }
}

pub(crate) struct Quartiles {
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
}

impl Quartiles {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |quarter: usize| values.get((values.len().saturating_sub(1)) * quarter / 4);
        let value = |quarter| at(quarter).copied().unwrap_or(f64::NAN);
        Self { lower: value(1), median: value(2), upper: value(3) }
    }
}

impl fmt::Display for Quartiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} [{:.3} {:.3}]", self.median, self.lower, self.upper)
    }
}
