//! placeholder

// Until the generation that uses them is here.
#[allow(dead_code)]
mod bind;
mod phase;

pub use bind::{Bind, BindError, InheritError};
pub use phase::Phase;
pub use portcullis_layers as layers;
