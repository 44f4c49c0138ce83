//! State that the application hands over to the next generation, by name: bytes that are collected
//! at each restart.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use portcullis_layers::BoxError;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::callback::{Callback, CallbackError};
use crate::handoff::{RestartError, SealedState};

/// The default maximum size of one state, in bytes.
pub(crate) const STATE_LIMIT: usize = 16 * 1024 * 1024;

/// The default limit for collecting all states.
pub(crate) const STATE_TIMEOUT: Duration = Duration::from_secs(5);

/// The states for the next generation, and those of the previous one.
pub(super) struct State {
    limit: usize,
    timeout: Duration,
    /// Called at each restart.
    offers: Mutex<HashMap<String, Callback<Vec<u8>>>>,
    inherited: Mutex<HashMap<String, SealedState>>,
}

/// A state that the predecessor handed on cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the state {name:?} that the predecessor handed on cannot be read")]
pub struct StateError {
    name: String,
    #[source]
    source: io::Error,
}

impl State {
    pub(super) fn new(limit: usize, timeout: Duration, inherited: HashMap<String, SealedState>) -> Self {
        Self { limit, timeout, offers: Mutex::default(), inherited: Mutex::new(inherited) }
    }

    pub(super) fn offer<F, R, E>(&self, name: String, offer: F)
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let offer = Callback::new(offer);
        self.offers.lock().unwrap_or_else(PoisonError::into_inner).insert(name, offer);
    }

    pub(super) fn take(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let read = inherited.map(|state| state.read(self.limit)).transpose();
        read.map_err(|source| StateError { name: name.to_owned(), source })
    }

    /// Collects all states concurrently. If one fails, the restart fails: a successor must not
    /// start with a part of the state.
    pub(super) async fn collect(&self) -> Result<Vec<(String, SealedState)>, RestartError> {
        let offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let limit = self.timeout;
        let mut asked: JoinSet<_> =
            offers.into_iter().map(|(name, offer)| async move { (name, offer.run(limit).await) }).collect();
        let mut state = Vec::with_capacity(asked.len());
        while let Some(answer) = asked.join_next().await {
            // The task does not panic, and is not aborted.
            let (name, answer) = answer
                .map_err(|error| RestartError::State { name: String::new(), reason: error.to_string() })?;
            let sealed = match answer {
                // The bytes may be secret, and are in the memfd from now on.
                Ok(bytes) => self.seal(&Zeroizing::new(bytes)),
                Err(CallbackError::Failed(reason)) => Err(reason),
                Err(CallbackError::Panicked) => Err("what offers it panicked".to_owned()),
                Err(CallbackError::TimedOut) => Err(format!("it was not there within {limit:?}")),
            };
            match sealed {
                Ok(sealed) => state.push((name, sealed)),
                Err(reason) => return Err(RestartError::State { name, reason }),
            }
        }
        Ok(state)
    }

    fn seal(&self, bytes: &[u8]) -> Result<SealedState, String> {
        if bytes.len() > self.limit {
            return Err(format!("it has {} bytes, and {} are the limit", bytes.len(), self.limit));
        }
        SealedState::new(bytes).map_err(|error| error.to_string())
    }
}

/// Prints names only: the bytes may be secret.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |names: Vec<&String>| format!("{names:?}");
        let offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        let inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("State")
            .field("offers", &names(offers.keys().collect()))
            .field("inherited", &names(inherited.keys().collect()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new(8, Duration::from_secs(1), HashMap::new())
    }

    async fn refused(state: &State) -> String {
        state.collect().await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_is_offered_is_what_the_next_one_takes() {
        let ours = state();
        ours.offer("greeting".to_owned(), || async { Ok::<_, io::Error>(b"hello".to_vec()) });
        ours.offer("greeting".to_owned(), || async { Ok::<_, io::Error>(b"hi".to_vec()) });
        let handed_on = ours.collect().await.unwrap().into_iter().collect();
        let theirs = State::new(8, Duration::ZERO, handed_on);
        assert_eq!(theirs.take("farewell").unwrap(), None);
        assert_eq!(theirs.take("greeting").unwrap().unwrap(), b"hi", "the last offer counts");
        assert_eq!(theirs.take("greeting").unwrap(), None, "taken once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_that_cannot_be_had_is_named() {
        let state = state();
        state.offer("sessions".to_owned(), || async { Err::<Vec<u8>, _>("the store is locked") });
        assert!(refused(&state).await.contains(r#""sessions" cannot be handed on: the store is locked"#));
        state.offer("sessions".to_owned(), || async { Ok::<_, io::Error>(vec![0; 9]) });
        assert!(refused(&state).await.contains("9 bytes, and 8 are the limit"));
        state.offer("sessions".to_owned(), std::future::pending::<io::Result<Vec<u8>>>);
        assert!(refused(&state).await.contains("not there within 1s"));
    }

    #[tokio::test]
    async fn what_the_predecessor_left_is_bounded_too() {
        let large = HashMap::from([("sessions".to_owned(), SealedState::new(&[0; 9]).unwrap())]);
        let error = State::new(8, Duration::ZERO, large).take("sessions").unwrap_err();
        assert!(error.to_string().contains("sessions"), "{error}");
    }
}
