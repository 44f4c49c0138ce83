//! One restart, as the predecessor goes through it.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Restarted, life::Settings, shared::Shared};
use crate::{
    RestartError,
    handoff::{Manifest, Step, Successor},
    phase::Phase,
};

/// An accept loop stops as soon as it is polled; one that takes longer than this is not.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// From the request to a successor that serves.
///
/// A drain that is requested meanwhile cancels it, up to the commit.
pub(super) async fn restart(shared: &Shared, settings: &Settings) -> Result<Restarted, RestartError> {
    let requested = Instant::now();
    tracing::info!(command = %settings.start_command, "restart requested");
    // Not cancelled by a drain: what is started must be known, to be ended. It takes no longer than exec(2).
    let mut successor = Successor::start(&settings.start_command, settings.ready_timeout).await?;
    let inventory = shared.with_roster(|roster| {
        // A listener that came now would be in no manifest.
        roster.freeze(true);
        roster.inventory()
    });
    let descriptors = inventory.descriptors();
    let manifest = Manifest { protocol: 0, generation: shared.number, listeners: inventory.entries.clone() };
    let until_commit = async {
        let claim = successor.hand_over(manifest, &descriptors).await?;
        stand_by(shared).await?;
        Ok(claim)
    };
    let claimed = tokio::select! {
        biased;
        () = shared.drain_requested.cancelled() => Err(RestartError::Cancelled),
        claimed = until_commit => claimed,
    };
    let claim = match claimed {
        Ok(claim) => claim,
        Err(error) => {
            // It must be dead before we accept again.
            let error = successor.abandon(error).await;
            serve_again(shared);
            return Err(error);
        }
    };

    let took = requested.elapsed();
    if let Err(error) = successor.commit(took).await {
        let error = successor.abandon(error).await;
        // The successor may have written its own pid.
        shared.publish_pid_file();
        serve_again(shared);
        tracing::warn!(generation = shared.number, "rolled back: this generation accepts again");
        return Err(RestartError::RolledBack(Box::new(error)));
    }
    let pid = successor.pid();
    successor.let_go();
    let unclaimed = inventory.unclaimed(&claim);
    unlink(move || unclaimed.unlink()).await;
    Ok(Restarted { pid, generation: shared.number + 1, took })
}

/// Two generations must not accept at once: ours stops, and is seen to have stopped, before the other is told.
async fn stand_by(shared: &Shared) -> Result<(), RestartError> {
    shared.phase.send_replace(Phase::Standby);
    let (step, limit) = (Step::Commit, STOP_LIMIT);
    timeout(limit, shared.accept_loops(|accepting| accepting == 0)).await.map_err(|_| {
        let reason =
            format!("this generation's listeners have not stopped within {limit:?}: is `serve` polled?");
        RestartError::Rejected { step, reason }
    })
}

/// Serves again after a restart that came to nothing.
fn serve_again(shared: &Shared) {
    shared.with_roster(|roster| roster.freeze(false));
    shared.phase.send_if_modified(|phase| std::mem::replace(phase, Phase::Serving) != Phase::Serving);
}

/// Removes Unix paths, which may wait for a lock.
async fn unlink(work: impl FnOnce() + Send + 'static) {
    // It does not panic; what could not be removed is in the log.
    _ = tokio::task::spawn_blocking(work).await;
}
