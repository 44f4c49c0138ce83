//! Socket activation, notifications and the descriptor store of systemd.

mod activation;
mod fd_store;
mod notifications;
