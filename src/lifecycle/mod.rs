//! What a listener needs to know of its generation: the [`Phase`], the accepting loops, open connections and the signal that
//! closes them.

mod machine;
#[cfg(test)]
mod model;
mod open;
mod phase;

pub(crate) use machine::{Effect, Event, Machine, State};
pub(crate) use open::{Counted, Open};
pub use phase::Phase;
