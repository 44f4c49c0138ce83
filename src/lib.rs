//! placeholder

// Until the generation that uses them is here.
#[allow(dead_code)]
mod bind;
mod config;
mod phase;
#[allow(dead_code)]
mod pid_file;

pub use bind::{Bind, BindError, InheritError};
pub use config::{Config, ConfigBuilder, ConfigError, Origin, Setting};
pub use phase::Phase;
pub use pid_file::PidFileError;
pub use portcullis_layers as layers;
