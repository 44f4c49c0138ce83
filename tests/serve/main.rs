//! One generation: what it accepts, serves, reports and closes.

mod allowlist;
mod configuration;
mod descriptors;
mod drain;
mod echo;
mod half_close;
mod log;
mod metrics;
mod panic;
mod stacks;
mod term;
mod unix_path;
