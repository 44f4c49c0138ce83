//! The control path: restarts and takeovers over it, and who may use it.

mod clients;
mod failed_takeover;
mod outcome;
mod path;
mod takeover;
