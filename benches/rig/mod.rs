//! What the benchmarks run: two echo servers that differ in nothing but what portcullis adds, and the work of a
//! client that is measured on both.
//!
//! Each server has a tokio runtime of its own with one worker, so that its time on the processor can be told apart. Both have the
//! same echo function, the same options on the listening socket and the same rustls configuration, but for the
//! sealing of tickets: each has its own. The
//! client is one thread with blocking sockets. It does its work in turns, on many connections at once: while it
//! reads from one, the server has others to serve and does not wait for the client.

// Each benchmark is a crate of its own, and none needs everything.
#![allow(dead_code, unused_imports)]

mod certificate;
mod harness;
mod measure;
mod server;
mod stack;
mod work;

pub(crate) use {
    certificate::{Tls, client_config},
    harness::{Harness, end},
    measure::{Quartiles, Sample, Side},
    server::{Server, exporter},
    stack::Stack,
    work::{Churn, Client, Work},
};
