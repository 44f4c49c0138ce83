//! The signal that asks connections to come to an end.

use tokio_util::sync::CancellationToken;

/// Says when a connection should come to an end by itself: finish what it is doing, start nothing new.
///
/// A leaf that serves requests watches it and stops keep-alive; a leaf whose clients decide when they are
/// done may ignore it, and is then ended at the deadline of the drain. Cloning is cheap, and every clone
/// sees the same signal, also one that is made after the drain began.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    token: Option<CancellationToken>,
}

impl Drain {
    /// A signal that never comes: the connection belongs to nobody who drains.
    #[must_use]
    pub const fn never() -> Self {
        Self { token: None }
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.token.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Waits until the drain begins; returns at once if it has. Cancel safe.
    pub async fn begun(&self) {
        match &self.token {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

/// A drain that begins when the token is cancelled.
impl From<CancellationToken> for Drain {
    fn from(token: CancellationToken) -> Self {
        Self { token: Some(token) }
    }
}
