//! The `process_*` series, as Prometheus' own client libraries name them.
//!
//! They are written straight into the text. Through the `metrics` facade the CPU time would lose its fractions, because
//! counters are whole numbers there.

use std::fmt::{Display, Write as _};

use metrics_process::collector::{Metrics, collect};

/// Appends the series of this process, as they are now. What the system does not tell is left out.
pub(super) fn render(text: &mut String) {
    let Metrics {
        cpu_seconds_total,
        open_fds,
        max_fds,
        virtual_memory_bytes,
        virtual_memory_max_bytes,
        resident_memory_bytes,
        start_time_seconds,
        threads,
    } = collect();
    // The collector says 0 for "unlimited", which would read as "nothing left".
    let limit = |value: Option<u64>| value.filter(|limit| *limit != 0);

    let cpu = "Total user and system CPU time spent in seconds.";
    write(text, "process_cpu_seconds_total", "counter", cpu, cpu_seconds_total);
    write(text, "process_open_fds", "gauge", "Number of open file descriptors.", open_fds);
    write(text, "process_max_fds", "gauge", "Maximum number of open file descriptors.", limit(max_fds));
    write(
        text,
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory size in bytes.",
        virtual_memory_bytes,
    );
    write(
        text,
        "process_virtual_memory_max_bytes",
        "gauge",
        "Maximum amount of virtual memory available in bytes.",
        limit(virtual_memory_max_bytes),
    );
    write(
        text,
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size in bytes.",
        resident_memory_bytes,
    );
    write(
        text,
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        start_time_seconds,
    );
    write(text, "process_threads", "gauge", "Number of OS threads in the process.", threads);
}

fn write(text: &mut String, name: &str, kind: &str, help: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        // Writing to a `String` does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
}
