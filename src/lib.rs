//! placeholder

#[cfg(feature = "admin")]
pub mod admin;
#[cfg(feature = "http")]
pub mod http;
mod phase;

pub use phase::Phase;
pub use portcullis_layers as layers;
