//! The control path: one Unix path of a server, over which an operator asks for things and a successor that somebody
//! else started takes over the sockets.
//!
//! [`GenerationBuilder::control`](crate::GenerationBuilder::control) gives a generation its path. It is a listener like
//! any other, called `control`: bound and owned as every Unix path is, handed from generation to generation, accepted on
//! while this one serves, and while it drains at the end of the line. Only processes of the server's user and of root
//! are heard, 16 at a time; further ones wait. [`Client`] is the side of those who ask; the example `ctl` is
//! that as a program.
//!
//! A takeover is the same conversation as a restart. What is here is who may begin one (`credentials`, `server`) and whom
//! a process that starts takes over from (`takeover`).
//!
//! # The frames
//!
//! As in the handoff a frame is four bytes with the length of the message (big-endian) and a JSON object whose `type`
//! names it. Fields that a receiver does not know are ignored. A connection is good for one conversation; its
//! first frame comes from whoever connected, within 5 seconds, and has 64 KiB at most.
//!
//! A client says what it wants, and gets an answer:
//!
//! ```text
//! {"type":"request","command":"restart"}        restart, drain, status or connections
//!
//! {"type":"restarted","pid":7,"generation":2,"took_seconds":0.2}
//! {"type":"failed","result":"crashed","reason":"…"}     the word of the metric `restarts_total`
//! {"type":"moved","passed_on_to":2}             another generation serves: ask that one
//! {"type":"drained","forced":0}                 connections that were cut off at the deadline
//! {"type":"status","phase":"serving","generation":2,"pid":7,"uptime_seconds":1.5,
//!  "listeners":[{"name":"echo","address":"tcp://127.0.0.1:6789"}],"connections":3,
//!  "draining":[{"generation":1,"pid":5}],"version":"0.1.0"}
//! {"type":"connections","connections":[…],"more":false}  again and again, while `more` is true
//! ```
//!
//! The answer to `restart` comes when its outcome is known, that to `drain` when the drain is over. A process
//! that wants to be the successor says `hello` instead, and the handoff goes on from there.
//!
//! # A restart during another one
//!
//! A restart that is requested during another one, or on probation, follows that one; requests that
//! wait at the same time share one restart. If the generation has handed over by then, its successor
//! runs the restart, and the answer to the request is `moved`:
//!
//! - With `passed_on_to`, the generation of this number has been passed the request. The client
//!   connects again and repeats the request with this field:
//!   `{"type":"request","command":"restart","passed_on_to":2}`. The answer is the outcome of the
//!   restart that runs in that generation, or of its last one if none does. If that generation has
//!   been replaced, a restart of it has succeeded, and the generation that serves answers
//!   `restarted` with its own process, after its probation. So a repeated request starts a restart
//!   only if that generation has run none, because the predecessor died before it could pass the
//!   request on.
//! - Without `passed_on_to`, the generation had not accepted the request, for it handed over or was
//!   rolled back just then. The client connects again and repeats the request as it was.
//!
//! Every restart whose outcome is an answer has begun after the request. A client whose connection
//! ends without an answer repeats a request that was passed on, and no other: a request that a
//! dying process had remembered is lost. [`Client::restart`] asks 8 generations at most.
//!
//! `{"type":"abort","reason":"…"}` turns away either of them, at any time up to the answer.

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
