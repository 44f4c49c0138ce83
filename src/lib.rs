//! A listening socket that outlives its process, and tower layers for the streams it accepts.
//!
//! A listening socket belongs to a *line of processes*. Each [`Generation`] hands its sockets to the next without closing
//! them, drains what it still serves, and leaves: no connection is refused, reset or lost because software was updated.
//! A connection passes through ordinary tower layers (the crate [`portcullis_layers`], here as [`layers`]) before it
//! reaches your service.
//!
//! ```no_run
//! use std::io;
//!
//! use portcullis::{
//!     Generation,
//!     layers::{Connection, allowlist::AllowlistLayer, tls::TlsLayer, track::TrackLayer},
//! };
//! use tower::ServiceBuilder;
//!
//! async fn echo<C: Connection>(connection: C) -> io::Result<()> {
//!     let (mut reader, mut writer) = tokio::io::split(connection);
//!     tokio::io::copy(&mut reader, &mut writer).await.map(drop)
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let generation = Generation::builder().pid_file("echo.pid").start().await?; // the first of the line, or the next
//! let listener = generation.listen("echo", "tcp://0.0.0.0:6789")?; // inherited, or bound
//!
//! let stack = ServiceBuilder::new()
//!     .layer(TrackLayer::new(generation.tracker()).listener("echo"))
//!     .layer(AllowlistLayer::new(["127.0.0.0/8".parse()?]))
//!     .layer(TlsLayer::from_pem_files("cert.pem", "key.pem")?)
//!     .service_fn(echo);
//!
//! listener.serve(stack).await?; // returns when drained
//! # Ok(()) }
//! ```
//!
//! `kill -USR1` starts the successor; `kill -TERM` drains, and `serve` returns; a second `TERM` exits with 1 at once.
//!
//! # Who does what
//!
//! - [`Generation`] is this process' place in the line: what it was handed, when it is ready, how it restarts and
//!   drains.
//! - [`GracefulListener`] accepts and feeds a stack; a [`ListenAddr`] is the `tcp://` or `unix://` address it is bound to.
//! - [`layers`] says what happens to one connection.
//! - [`http`] serves a tower HTTP service (axum, tonic, hyper) as the leaf of a stack, and [`admin`] is one: metrics, health,
//!   readiness and connections on a listener of its own.
//! - [`control`] is what an operator asks over a Unix path, and how a successor that somebody else started takes over.
//! - [`Config`] reads settings from code and environment.
//! - [`Supervisor`] keeps PID 1 of a container, and runs the line below it.
//!
//! # A restart
//!
//! The successor is started with one end of a socketpair, in which it finds the sockets. It checks them, initialises, and is ready
//! when all its listeners are being served; only then does the predecessor stop accepting and tell it to begin. Each
//! step has a deadline. If the successor fails before that, it is killed and reaped, and nothing has changed. If it fails in its
//! probation after that, the predecessor accepts again; when it has settled, the predecessor closes its copies of the sockets
//! and drains. If the predecessor dies, the successor goes on alone.
//!
//! # systemd
//!
//! What the service manager gives is taken, and it is told what happens, without a word of yours: see
//! [`GenerationBuilder::systemd`].
//!
//! # Features
//!
//! All are on by default, but `ring`.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `tls` | [`layers::tls`], and [`Generation::manage_tls`] |
//! | `aws-lc-rs`, `ring` | the cryptography of TLS, which needs one of the two; each implies `tls` |
//! | `http` | [`http`] |
//! | `admin` | [`admin`]; implies `http` and `control` |
//! | `control` | [`control`] |
//! | `systemd` | [`GenerationBuilder::systemd`] |
//! | `supervisor` | [`Supervisor`]; implies `systemd` |
//! | `config` | [`Config`]; implies `tls` and `control` |
//!
//! Linux only.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[macro_use]
mod log;

/// A [`Point`](faults::Point) at which a test can order a fault. Nothing without the feature `__faults`.
macro_rules! fault_point {
    ($point:ident) => {
        #[cfg(feature = "__faults")]
        crate::faults::at(crate::faults::Point::$point).await;
    };
}

#[cfg(feature = "admin")]
pub mod admin;
mod bind;
mod builder;
#[cfg(feature = "config")]
mod config;
#[cfg(feature = "control")]
pub mod control;
#[cfg(feature = "__faults")]
#[doc(hidden)]
pub mod faults;
mod generation;
mod handoff;
mod hint;
#[cfg(feature = "http")]
pub mod http;
mod lifecycle;
mod listen;
mod listener;
mod metrics;
mod pid_file;
mod signals;
#[cfg(feature = "supervisor")]
mod supervisor;
mod sys;
#[cfg(feature = "systemd")]
mod systemd;
#[cfg(feature = "tls")]
mod tls;

pub use bind::{
    BindError, DescriptorError, DescriptorProblem, HostProblem, ListenAddr, PassedBy, PathProblem,
    PermissionProblem, PortProblem,
};
pub use builder::{GenerationBuilder, StartError};
#[cfg(feature = "config")]
pub use config::{Config, ConfigBuilder, ConfigError, Origin, Setting};
pub use generation::{Generation, ReadinessGuard, Restarted, StateError};
#[cfg(fuzzing)]
#[doc(hidden)]
pub use handoff::fuzzing;
pub use handoff::{HandoffError, Refusal, RestartError, RestartResult, Step};
pub use hint::hint;
pub use lifecycle::Phase;
pub use listen::ListenError;
pub use listener::{
    Accepted, ConnectionService, ConnectionTask, Drained, Executor, GracefulListener, ServeError,
    TokioExecutor,
};
pub use pid_file::PidFileError;
pub use portcullis_layers as layers;
#[cfg(feature = "supervisor")]
pub use supervisor::{Supervisor, SupervisorError};
pub use sys::{StartCommand, StartCommandError};
#[cfg(feature = "tls")]
pub use tls::{ManageTlsError, TlsGuard};

/// The code in the README compiles.
#[cfg(all(doctest, feature = "admin", feature = "config", feature = "supervisor"))]
#[doc = include_str!("../README.md")]
struct Readme;
