//! TLS of the example `echo`: certificates, reload, revocation and what is logged.

mod client_certificates;
mod log;
mod reload;
mod revocation;
