//! The drain of a generation.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{metrics::LineMetrics, shared::Shared};

/// The time for the executor to drop connections that were closed at the deadline.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Logs the start of a drain, and notifies the observer.
pub(super) fn report_begin(shared: &Shared, limit: Duration, last: bool) {
    if last {
        shared.observer.stopping(shared.number, limit);
    }
    let connections = shared.lifecycle.open(false).connections();
    log!(info, generation = shared.number, connections, deadline = ?limit, "draining");
}

/// Waits until the last connection has finished, or closes the rest at the deadline. Returns how
/// many connections were closed. `last`: no other generation has the sockets.
pub(super) async fn drain(shared: &Arc<Shared>, limit: Duration, metrics: &LineMetrics, last: bool) -> usize {
    let begun = Instant::now();
    let lifecycle = &shared.lifecycle;
    let forced = match timeout(limit, lifecycle.connections_finished()).await {
        Ok(()) => 0,
        Err(_) => {
            let forced = lifecycle.force_connections();
            if timeout(LAST_MOMENT, lifecycle.connections_finished()).await.is_err() {
                log!(
                    warn,
                    connections = shared.lifecycle.open(false).connections(),
                    "connections do not finish"
                );
            }
            forced
        }
    };
    if last && shared.observer.ends_with_last() {
        // A service manager kills the remaining processes when the main process exits.
        earlier_ended(shared, limit.saturating_sub(begun.elapsed())).await;
    }
    // Listeners that accept while draining serve up to this point; responses in flight may still
    // finish.
    lifecycle.set_drained(forced);
    let open_while_draining = lifecycle.open(true);
    if timeout(LAST_MOMENT, open_while_draining.finished()).await.is_err() {
        open_while_draining.force();
    }
    remove_pid_file(shared).await;
    let took = begun.elapsed();
    metrics.drained(took);
    if forced == 0 {
        log!(info, generation = shared.number, ?took, forced, "drained");
    } else {
        log!(
            warn,
            generation = shared.number,
            ?took,
            forced,
            "drained; connections were closed at the deadline"
        );
    }
    forced
}

/// Removes the pid file, if its file system takes no longer than [`LAST_MOMENT`].
async fn remove_pid_file(shared: &Arc<Shared>) {
    let removing = tokio::task::spawn_blocking({
        let shared = shared.clone();
        move || shared.remove_pid_file()
    });
    if timeout(LAST_MOMENT, removing).await.is_err() {
        log!(warn, generation = shared.number, "the removal of the pid file takes too long");
    }
}

/// Waits for the older generations that still drain. Each has a deadline of its own, which expires
/// before that of this generation.
async fn earlier_ended(shared: &Shared, limit: Duration) {
    let begun = Instant::now();
    for earlier in shared.metrics.earlier_generations() {
        log!(
            info,
            generation = shared.number,
            earlier = earlier.generation,
            pid = earlier.pid,
            "waiting for an older generation"
        );
        let left = limit.saturating_sub(begun.elapsed()).max(LAST_MOMENT);
        if !earlier.process.exited_within(left).await {
            log!(warn, earlier = earlier.generation, pid = earlier.pid, "an older generation still drains");
        }
    }
}
