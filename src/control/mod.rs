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
