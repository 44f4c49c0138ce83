//! What a process tells its operator: metrics, health, readiness and the open connections, over HTTP.
//!
//! [`Exporter`] collects the metrics, [`Admin`] answers requests, [`AdminStack`] serves it on connections and says who
//! may ask. The stack goes on a listener like any other, so that it is handed from one generation to the next,
//! and the metrics' port never clashes. What is counted is not decided here; that is the layers' and the
//! generation's.

mod connections;
mod own_user;
mod process;
mod prometheus;
mod service;
mod stack;

#[cfg(all(test, feature = "tls"))]
mod tests;

pub use prometheus::{Exporter, ExporterBuilder, ExporterError};
pub use service::{Admin, ResponseFuture};
pub use stack::{AdminFuture, AdminStack};
