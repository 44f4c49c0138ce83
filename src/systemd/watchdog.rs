//! Signs of life for the service manager's watchdog: `sd_watchdog_enabled(3)`.
//!
//! The manager gives the time to the first generation and names its pid with it; it takes the signs from every process of
//! the service (`NotifyAccess=all`), and counts from the last one whoever it came from.

use std::{ffi::OsString, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval as ticks},
};

use super::{names_this_process, notifier::Manager};
use crate::lifecycle::Phase;

/// The time between two signs of life: half of what the manager waits, as the manual page recommends. `None`: it does not
/// wait for any.
pub(super) fn interval(variable: impl Fn(&str) -> Option<OsString>, spawned: bool) -> Option<Duration> {
    let micros: u64 = variable("WATCHDOG_USEC")?.to_str()?.parse().ok()?;
    let meant = spawned || names_this_process(variable("WATCHDOG_PID").as_deref());
    let half = Duration::from_micros(micros / 2);
    (meant && !half.is_zero()).then_some(half)
}

/// Gives them while this generation serves.
pub(super) async fn keep_alive(manager: Arc<Manager>, every: Duration, mut phases: watch::Receiver<Phase>) {
    // An error: nobody is left who could serve.
    while phases.wait_for(|phase| *phase == Phase::Serving).await.is_ok() {
        let mut ticks = ticks(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let signs = async {
            loop {
                ticks.tick().await;
                manager.sign_of_life();
            }
        };
        tokio::select! {
            biased;
            _ = phases.wait_for(|phase| *phase != Phase::Serving) => {}
            () = signs => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_half_of_what_was_given_to_this_line() {
        let own = std::process::id().to_string();
        let given = |micros: &str, pid: Option<&str>, spawned| {
            let (micros, pid) = (micros.to_owned(), pid.map(str::to_owned));
            interval(
                |name| match name {
                    "WATCHDOG_USEC" => Some(micros.clone().into()),
                    "WATCHDOG_PID" => pid.clone().map(Into::into),
                    _ => None,
                },
                spawned,
            )
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(given("2000000", Some(&own), false), second);
        assert_eq!(given("2000000", None, false), second);
        assert_eq!(given("2000000", Some("1"), false), None, "another process'");
        assert_eq!(given("2000000", Some("1"), true), second, "the first generation's");
        for wrong in ["", "0", "1", "-5", "x"] {
            assert_eq!(given(wrong, None, false), None, "{wrong:?}");
        }
    }
}
