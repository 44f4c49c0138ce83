//! placeholder
#![deny(unsafe_code)]

pub mod bind;
mod chain;
mod generation;
mod handoff;
mod listener;
mod phase;
mod pid_file;
mod signals;

pub use generation::{Generation, GenerationBuilder, Hold, ListenError, Restarted, StartError};
pub use handoff::{HandoffError, Refusal, RestartError, StartCommand, StartCommandError, Step};
pub use listener::{Accepted, ConnectionService, Drained, Executor, GracefulListener, ServeError, Tokio};
pub use phase::Phase;
pub use portcullis_layers as layers;
