//! How long to wait before the next start.

use std::time::Duration;

/// The first pause; each is twice the one before.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);
/// A process that has served for so long is no failure; what ended it is not in how it starts.
const PROVED: Duration = Duration::from_secs(1);

/// Counts the failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A process is over that has served for so long; `None` if it was never ready. Returns the time to wait.
    pub(super) fn after(&mut self, served: Option<Duration>) -> Duration {
        if served.is_some_and(|served| served >= PROVED) {
            self.failures = 0;
            return Duration::ZERO;
        }
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_spaced_up_to_ten_seconds() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..10).map(|_| backoff.after(None).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
        for _ in 0..100 {
            assert_eq!(backoff.after(Some(Duration::from_millis(999))), LONGEST);
        }
    }

    #[test]
    fn one_that_has_served_is_replaced_at_once() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.after(Some(PROVED)), Duration::ZERO);
        backoff.after(None);
        assert_eq!(backoff.after(Some(PROVED)), Duration::ZERO);
        assert_eq!(backoff.after(None), FIRST, "and the failures before it are forgotten");
    }
}
