//! [`HttpLeaf`]: the leaf of a stack that serves a tower HTTP service on each connection.
//!
//! The leaf sniffs HTTP/1 or HTTP/2 (`preface.rs`), gives the stream to hyper (`serve.rs`) in a wrapper that
//! knows whether the stream is still alive (`held.rs`), and tells each request who called (`caller.rs`). What
//! an application answers is no business of this module: that is axum's, tonic's or your own service's.

mod caller;
mod error;
mod held;
mod leaf;
mod preface;
mod serve;

#[cfg(test)]
pub(crate) mod tests;

pub use error::HttpError;
pub use leaf::{HttpLeaf, Serve};
