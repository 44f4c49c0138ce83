//! What the TLS layer promises, against real sockets and a real client. The letters are the rows of
//! FAULTS.md.

#[path = "../certificates/mod.rs"]
mod certificates;

mod client_certificates;
mod compose;
mod config;
mod deadline;
mod ends;
mod hello;
mod maybe;
mod openings;
mod resumption;
mod session;
mod stream;
mod streams;
