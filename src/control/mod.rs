//! The control path: a Unix socket of a server. Over it, clients send requests, and a process that
//! was started separately takes over the sockets.
//!
//! [`GenerationBuilder::control`](crate::GenerationBuilder::control) sets the path of a generation.
//! It is a listener like any other, called `control`: it is bound, owned and handed over like every
//! Unix path. It accepts while this generation serves, and while the last generation drains. Only
//! processes of the server's user and of root may connect. The server handles 16 connections at a
//! time; further ones wait in the queue of the socket. Up to 128 more may wait for the outcome of a
//! restart or a drain; a request of one more is rejected. [`Client`] is the client; the example `ctl`
//! is a program that uses it.
//!
//! A takeover uses the same protocol as a restart. This module contains who may start one
//! (`credentials`, `server`) and how a new process finds the server that it takes over from
//! (`takeover`).
//!
//! # The frames
//!
//! As in the handoff, a frame consists of four bytes with the length of the message (big-endian)
//! and a JSON object, whose `type` names the message. A receiver ignores unknown fields. A
//! connection carries one request. The client sends the first frame, within 5 seconds and of at
//! most 64 KiB.
//!
//! A client sends a request, and receives an answer:
//!
//! ```text
//! {"type":"request","command":"restart"}        restart, drain, status or connections
//!
//! {"type":"restarted","pid":7,"generation":2,"took_seconds":0.2}
//! {"type":"failed","result":"crashed","reason":"…"}     the label of the metric `restarts_total`
//! {"type":"moved","passed_on_to":2}             another generation serves: ask there
//! {"type":"drained","forced":0}                 connections that were closed at the deadline
//! {"type":"status","phase":"serving","generation":2,"pid":7,"uptime_seconds":1.5,
//!  "listeners":[{"name":"echo","address":"tcp://127.0.0.1:6789"}],"connections":3,
//!  "draining":[{"generation":1,"pid":5}],"version":"0.1.0"}
//! {"type":"connections","connections":[…],"more":false}  again and again, while `more` is true
//! ```
//!
//! The answer to `restart` is sent when its outcome is known, the answer to `drain` when the drain
//! has finished. A process that takes over sends `hello` instead of `request`, and continues with
//! the handoff.
//!
//! # A restart during another one
//!
//! A restart that is requested during another one, or on probation, starts afterwards; all requests
//! that wait at the same time share one restart. If the generation hands over before that, its
//! successor runs the restart, and the answer to the request is `moved`:
//!
//! - With `passed_on_to`, the request was passed on to the generation with this number. The client
//!   connects again and repeats the request with this field:
//!   `{"type":"request","command":"restart","passed_on_to":2}`. The answer is the outcome of the
//!   restart that runs in that generation, or of its last restart if none runs. If that generation
//!   has been replaced, one of its restarts has succeeded; the generation that serves then answers
//!   `restarted` with its own process, after its probation. So a repeated request starts a restart
//!   only if that generation has run none, because the predecessor exited before it could pass the
//!   request on.
//! - Without `passed_on_to`, the generation has not accepted the request, because it was handing
//!   over or was rolled back. The client connects again and repeats the request unchanged.
//!
//! Every restart whose outcome is an answer has started after the request. If its connection closes
//! without an answer, a client repeats a request that was passed on, and no other: a pending
//! request is lost if its process dies. [`Client::restart`] tries at most 8 generations.
//!
//! `{"type":"abort","reason":"…"}` rejects a request or a takeover, at any time up to the answer.
//! A client that closes its connection cancels no request. After a half-close it still gets its answer.

mod client;
mod credentials;
mod error;
mod message;
mod server;
mod status;
mod takeover;
mod word;

pub use client::Client;
#[cfg(feature = "admin")]
pub(crate) use credentials::is_trusted_by;
pub use error::ControlError;
pub(crate) use server::serve;
pub use status::{DrainingGeneration, ListenerStatus, OpenConnection, Status};
pub use takeover::TakeoverError;
pub(crate) use takeover::{Found, bind_to, find};
