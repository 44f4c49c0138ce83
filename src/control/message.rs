//! The messages between a client and a server. The module documentation of `control` shows them on
//! the wire.

use serde::{Deserialize, Serialize};

use super::status::{OpenConnection, Status};
use crate::handoff::{Hello, RestartResult};

/// The first frame of a connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Opening {
    Request(Request),
    /// A takeover.
    Hello(Hello),
    #[serde(other)]
    Unknown,
}

/// A request. The command is text, so that the answer can name an unknown one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) command: String,
    /// A restart was requested of an earlier generation, and passed on to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) passed_on_to: Option<u64>,
}

/// The commands.
pub(super) mod command {
    pub(in super::super) const RESTART: &str = "restart";
    pub(in super::super) const DRAIN: &str = "drain";
    pub(in super::super) const STATUS: &str = "status";
    pub(in super::super) const CONNECTIONS: &str = "connections";
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Answer {
    Restarted {
        pid: u32,
        generation: u64,
        took_seconds: f64,
    },
    /// The restart failed.
    Failed {
        #[serde(with = "super::word")]
        result: RestartResult,
        reason: String,
    },
    /// Another generation serves: the request has to be repeated there.
    Moved {
        /// The request was passed on to this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passed_on_to: Option<u64>,
    },
    Drained {
        forced: usize,
    },
    Status(Status),
    /// They may be sent in several frames, because the length of a frame is limited.
    Connections {
        connections: Vec<OpenConnection>,
        more: bool,
    },
    /// The request was rejected. A handoff uses the same message.
    Abort {
        reason: String,
    },
    #[serde(other)]
    Unknown,
}
