//! Restarts by a signal: what they keep, what they hand over, and how they fail.

mod admin;
mod children;
mod failure;
mod listeners;
mod load;
mod log;
mod pid_file;
mod probation;
mod program;
mod protocol;
mod queue;
mod requests;
mod state;
mod totals;
