//! [`Generation`]: this process' place in the line of processes that serve the same sockets.
//!
//! `life` is the one task that decides what happens when, with `restart`, `probation` and `drain`; `shared` is what it, the handle and
//! the listeners have in common; `roster` knows the listeners, `state` what the application hands on. How sockets
//! change hands is [`crate::handoff`]'s affair.

mod builder;
mod claims;
mod drain;
mod metrics;
mod probation;
mod question;
mod restart;
mod roster;
mod runner;
mod shared;
mod state;
mod status;

use std::{fmt, io, sync::Arc, time::Duration};

use portcullis_layers::track::Tracker;
use tokio::sync::{oneshot, watch};

#[cfg(feature = "config")]
pub(crate) use builder::{DRAIN_TIMEOUT, DRAINING_LIMIT, READY_TIMEOUT};
pub use builder::{GenerationBuilder, StartError};
#[cfg(feature = "tls")]
pub(crate) use claims::Claim;
#[cfg(feature = "config")]
pub(crate) use probation::PROBATION;
pub(crate) use roster::Seat;
pub(crate) use shared::{End, Shared};
pub use state::StateError;

use crate::{
    bind::{BindError, DescriptorError, ListenAddr, ListeningSocket},
    control,
    handoff::{Arrival, Refusal, RestartError},
    lifecycle::Phase,
    listener::{Acceptor, GracefulListener},
};
use restart::{Candidate, RestartRequest};

/// This process' place in the line: the first, or the successor of the one that started it.
///
/// A handle; clones are the same generation.
#[derive(Clone, Debug)]
pub struct Generation {
    shared: Arc<Shared>,
}

/// A restart that succeeded: the successor serves, this generation drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarted {
    /// The successor's process id.
    pub pid: u32,
    /// The number of its generation.
    pub generation: u64,
    /// From the request to the commit.
    pub took: Duration,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The name is the control path's, whether there is one or not.
    #[error("listener {name:?}: this name is that of the control path; choose another one")]
    Reserved {
        /// The name.
        name: String,
    },
    /// The name is taken.
    #[error("listener {name:?}: there is one with this name already; every listener needs a name of its own")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// This generation hands over to a successor, or drains: a new listener would be closed at once.
    #[error(
        "listener {name:?}: this generation takes no new listeners any more, for it hands over or drains"
    )]
    TooLate {
        /// The name.
        name: String,
    },
    /// The address cannot be bound.
    #[error("listener {name:?}: cannot listen")]
    Bind {
        /// The name of the listener.
        name: String,
        /// What was wrong.
        #[source]
        source: BindError,
    },
    /// The service manager passed a descriptor under this name that is not what the listener asks for.
    #[error("listener {name:?}: cannot use what the service manager passed")]
    Activation {
        /// The name of the listener.
        name: String,
        /// What was wrong.
        #[source]
        source: DescriptorError,
    },
    /// The socket cannot be registered with the runtime.
    #[error("listener {name:?}: cannot be registered with the tokio runtime")]
    Register {
        /// The name of the listener.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl ListenError {
    fn bind(name: &str, source: BindError) -> Self {
        Self::Bind { name: name.to_owned(), source }
    }
}

impl Generation {
    /// The settings to start with.
    pub fn builder() -> GenerationBuilder {
        GenerationBuilder::new()
    }

    /// Its number in the line; the first is 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.shared.number
    }

    /// A listener on `bind`, known by `name` in metrics and logs and to the next generation.
    ///
    /// If the predecessor, or the service manager, handed down a socket that is bound to this address, one with this name
    /// first, it is taken as it is; options of `bind` that concern the socket itself (backlog, mode) are then theirs.
    /// Otherwise the address is bound now. Blocks: a host name is resolved, and the directory of a Unix path is locked.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # use portcullis::Generation;
    /// let generation = Generation::builder().start().await?;
    /// let public = generation.listen("public", "tcp://[::]:6789")?;
    /// let local = generation.listen("local", "unix:///run/echo.sock")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// When the address cannot be understood or bound, when the name is taken or `control`, when the service manager passed
    /// something else under this name, and when this generation hands over or drains.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn listen<B>(&self, name: &str, bind: B) -> Result<GracefulListener, ListenError>
    where
        B: TryInto<ListenAddr, Error: Into<BindError>>,
    {
        let bind = bind.try_into().map_err(|error| ListenError::bind(name, error.into()))?;
        if name == control::NAME {
            return Err(ListenError::Reserved { name: name.to_owned() });
        }
        self.listen_on(name, &bind, None)
    }

    /// As [`listen`](Self::listen), under any name. `bound`: the socket, if it is there already.
    fn listen_on(
        &self,
        name: &str,
        bind: &ListenAddr,
        bound: Option<ListeningSocket>,
    ) -> Result<GracefulListener, ListenError> {
        let name: Arc<str> = name.into();
        self.shared.with_roster(|roster| roster.reserve(&name))?;
        let listening = self.listen_reserved(&name, bind, bound);
        if listening.is_err() {
            self.shared.with_roster(|roster| roster.unreserve(&name));
        }
        listening
    }

    /// The name is reserved, so this generation is not ready meanwhile.
    fn listen_reserved(
        &self,
        name: &Arc<str>,
        bind: &ListenAddr,
        bound: Option<ListeningSocket>,
    ) -> Result<GracefulListener, ListenError> {
        let (socket, inherited) = match bound {
            Some(socket) => (socket, None),
            None => self.take_or_bind(name, bind)?,
        };
        let acceptor = Acceptor::new(socket, self.shared.tracker.drain())
            .map_err(|source| ListenError::Register { name: name.to_string(), source })?;
        let address = acceptor.local_address();
        tracing::info!(listener = &**name, %address, inherited = inherited.is_some(), "listening");
        let acceptor = Arc::new(acceptor);
        self.shared.with_roster(|roster| roster.enter(name.clone(), bind, acceptor.clone(), inherited));
        let seat = Seat { shared: self.shared.clone(), name: name.clone(), acceptor, attending: false };
        Ok(GracefulListener::new(seat))
    }

    /// The socket that was handed down, and what it was called; or one that is bound now.
    fn take_or_bind(
        &self,
        name: &str,
        bind: &ListenAddr,
    ) -> Result<(ListeningSocket, Option<String>), ListenError> {
        let candidates = self.shared.with_roster(|roster| roster.candidates(name));
        if let Some(found) = candidates.into_iter().find(|candidate| candidate.is(name, bind))
            && let Some((inherited, socket)) =
                self.shared.with_roster(|roster| roster.take_inherited(found.descriptor))
        {
            return Ok((socket, Some(inherited)));
        }
        if let Some(source) = self.shared.with_roster(|roster| roster.misfit(name, bind)) {
            return Err(ListenError::Activation { name: name.to_owned(), source });
        }
        Ok((bind.bind().map_err(|error| ListenError::bind(name, error))?, None))
    }

    /// The registry of this generation's connections, for a [`TrackLayer`](portcullis_layers::track::TrackLayer).
    /// Its drain signal is this generation's.
    #[must_use]
    pub fn tracker(&self) -> Tracker {
        self.shared.tracker.clone()
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.shared.phase.borrow()
    }

    /// Where it stands, to be watched.
    #[must_use]
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.shared.phase()
    }

    /// Keeps this generation from being ready until the guard is dropped.
    ///
    /// Without one, it is ready as soon as all its listeners are being served. Hold it while something else must be
    /// done first (a cache to warm, another listener to add): until then the predecessor serves.
    pub fn hold(&self) -> Hold {
        self.shared.with_roster(roster::Roster::hold);
        Hold { shared: self.shared.clone() }
    }

    /// Hands `name` on to the next generation: at each restart `offer` is called for the bytes, before the successor is
    /// started. An offer of the same name replaces an earlier one.
    ///
    /// What happens to the state after that is not in it. The bytes travel in memory, never in the environment or through a
    /// file. A restart for which they cannot be had in time, or which are too many, fails, and nothing has
    /// changed; see [`state_timeout`](GenerationBuilder::state_timeout) and [`state_limit`](GenerationBuilder::state_limit).
    ///
    /// ```
    /// # async fn example(generation: portcullis::Generation) -> Result<(), Box<dyn std::error::Error>> {
    /// let visits = generation.take_state("visits")?.unwrap_or_default();
    /// generation.offer_state("visits", move || {
    ///     let visits = visits.clone();
    ///     async { Ok::<_, std::io::Error>(visits) }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn offer_state<F, R, E>(&self, name: impl Into<String>, offer: F)
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
        E: Into<portcullis_layers::BoxError>,
    {
        self.shared.state.offer(name.into(), offer);
    }

    /// Takes what the predecessor has handed on under `name`; `None` if it has not, or if it was taken already.
    ///
    /// The predecessor may have been another version of the program.
    ///
    /// # Errors
    ///
    /// If it has more bytes than [`state_limit`](GenerationBuilder::state_limit), or cannot be read.
    pub fn take_state(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        self.shared.state.take(name)
    }

    /// Starts a successor, hands it the sockets, and waits for the outcome; what `USR1` does.
    ///
    /// When it returns `Ok`, the successor has passed its probation, or this generation was told to drain meanwhile; it drains.
    ///
    /// # Errors
    ///
    /// Whatever the error, this generation serves as before, unless it was told to drain meanwhile.
    ///
    /// # Cancellation
    ///
    /// Dropping the future does not call the restart off.
    pub async fn restart(&self) -> Result<Restarted, RestartError> {
        let (outcome, told) = oneshot::channel();
        let request = RestartRequest { candidate: Candidate::Start, outcome };
        let refused = RestartError::Refused(Refusal::NotServing);
        if self.shared.restarts.send(request).await.is_err() {
            return Err(refused);
        }
        told.await.unwrap_or(Err(refused))
    }

    /// Hands the sockets to a process that somebody else has started, or turns it away. The outcome is told to
    /// that one, to the log and to the metrics.
    pub(crate) async fn take_over(&self, arrival: Arrival) {
        let candidate = Candidate::Arrived(Box::new(arrival));
        let request = RestartRequest { candidate, outcome: oneshot::channel().0 };
        // An error means that this generation has ended, and with it the connection.
        _ = self.shared.restarts.send(request).await;
    }

    /// Stops accepting, finishes what is open, ends; what `TERM` does. Returns at once:
    /// [`serve`](GracefulListener::serve) returns when it is done. More than once is the same as once.
    pub fn drain(&self) {
        self.shared.drain_requested.cancel();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// See [`Generation::hold`].
#[must_use = "dropping it releases the generation"]
pub struct Hold {
    shared: Arc<Shared>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.with_roster(roster::Roster::release);
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}

/// For what stands on a generation and is no part of its life.
impl Generation {
    /// Whether the signals of an operator are obeyed.
    pub(crate) fn obeys_signals(&self) -> bool {
        self.shared.obeys_signals()
    }

    /// What the names of metrics begin with.
    pub(crate) fn metrics_prefix(&self) -> &str {
        self.shared.metrics_prefix()
    }

    /// Takes a name until the claim is dropped; `None` while another claim has it.
    pub(crate) fn claim(&self, name: impl Into<String>) -> Option<Claim> {
        self.shared.claims.claim(name.into())
    }
}
