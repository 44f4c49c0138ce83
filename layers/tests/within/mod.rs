//! The deadline of what should come at once.

use std::{future::Future, time::Duration};

/// Longer than anything that is waited for with [`within`] should take, also where the clock is a test's own.
const LONG: Duration = Duration::from_secs(20);

/// Fails the test instead of letting it hang.
///
/// Not `tokio::time::timeout`: that polls the future once more when the time is up, and a future whose wake-up was lost
/// would then be found ready after all.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::select! {
        biased;
        () = tokio::time::sleep(LONG) => panic!("should have come long ago"),
        output = future => output,
    }
}
