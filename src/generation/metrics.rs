//! The series of a generation: its number, its restarts, its drain.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use portcullis_layers::metrics::series_name;

use crate::{handoff::RestartResult, metrics::GenerationMetrics};

/// Handles, registered once.
#[derive(Clone, Debug)]
pub(super) struct LineMetrics {
    restarts: [Counter; RestartResult::ALL.len()],
    restart_duration: Histogram,
    draining: Gauge,
    drain_duration: Histogram,
}

impl LineMetrics {
    pub(super) fn register(prefix: &str, number: u64, generations: &GenerationMetrics) -> Self {
        let generation = series_name(prefix, "generation");
        let restarts = series_name(prefix, "restarts_total");
        let restart_duration = series_name(prefix, "restart_duration_seconds");
        let draining = series_name(prefix, "draining");
        let drain_duration = series_name(prefix, "drain_duration_seconds");
        let generations_draining = series_name(prefix, "generations_draining");

        describe_gauge!(
            generation.clone(),
            "Place of this process in the line of generations; the first is 1"
        );
        describe_counter!(
            restarts.clone(),
            Unit::Count,
            "Restarts, counted by the generation that serves after them"
        );
        describe_histogram!(
            restart_duration.clone(),
            Unit::Seconds,
            "From the request for a restart to its commit"
        );
        describe_gauge!(draining.clone(), "Whether this generation drains");
        describe_histogram!(
            drain_duration.clone(),
            Unit::Seconds,
            "From the beginning of a drain to its end"
        );
        describe_gauge!(
            generations_draining.clone(),
            Unit::Count,
            "Older generations that still serve their last connections"
        );

        // Precise up to 2^53 restarts.
        gauge!(generation).set(number as f64);
        generations.show_draining(gauge!(generations_draining));
        let metrics = Self {
            restarts: RestartResult::ALL
                .map(|result| counter!(restarts.clone(), "result" => result.as_str())),
            restart_duration: histogram!(restart_duration),
            draining: gauge!(draining),
            drain_duration: histogram!(drain_duration),
        };
        metrics.draining.set(0);
        for counter in &metrics.restarts {
            counter.increment(0);
        }
        metrics
    }

    /// So many restarts were refused before there was anything to count them with.
    pub(super) fn refused(&self, restarts: u64) {
        self.restarts[RestartResult::Refused as usize].increment(restarts);
    }

    pub(super) fn restarted(&self, result: RestartResult) {
        self.restarts[result as usize].increment(1);
    }

    pub(super) fn committed(&self, took: Duration) {
        self.restart_duration.record(took);
    }

    pub(super) fn drain_begun(&self) {
        self.draining.set(1);
    }

    pub(super) fn drained(&self, took: Duration) {
        self.drain_duration.record(took);
    }
}
