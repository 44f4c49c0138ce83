//! The supervisor, which starts the server and restarts it.

mod crash;
mod exit;
mod first_process;
mod notifications;
mod restart;
