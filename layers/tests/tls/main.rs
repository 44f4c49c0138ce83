//! What the TLS layer promises, against real sockets and a real client. The letters are the rows of
//! FAULTS.md.

#[path = "../certificates/mod.rs"]
mod certificates;
#[path = "../within/mod.rs"]
mod within;

mod after_the_handshake;
mod client_certificates;
mod close_notify;
mod compose;
mod config;
mod crypto;
mod deadline;
mod ends;
mod files;
mod floods;
mod hello;
mod identities;
mod maybe;
mod openings;
mod policy;
mod reload;
mod resumption;
mod returning_clients;
mod revocation;
mod revocation_lists;
mod session;
mod sni;
mod stream;
mod streams;
mod tickets;
mod visits;
