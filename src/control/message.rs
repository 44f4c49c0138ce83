//! What a client and a server say to each other. See the module above for how it looks on the wire.

use serde::{Deserialize, Serialize};

use super::status::{OpenConnection, Status};
use crate::handoff::{Hello, RestartResult};

/// The first frame of whoever connected.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Opening {
    Request(Request),
    /// It wants to be the successor.
    Hello(Hello),
    #[serde(other)]
    Unknown,
}

/// What a client wants. The command is text, so that one that is not known can be named in the refusal.
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
    /// The restart did not happen.
    Failed {
        #[serde(with = "super::word")]
        result: RestartResult,
        reason: String,
    },
    /// Another generation serves, and is to be asked.
    Moved {
        /// The request was passed on to this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passed_on_to: Option<u64>,
    },
    Drained {
        forced: usize,
    },
    Status(Status),
    /// A frame has a longest length, so they may come in several.
    Connections {
        connections: Vec<OpenConnection>,
        more: bool,
    },
    /// Turned away. The same message calls off a handoff, for it is sent to whoever connects.
    Abort {
        reason: String,
    },
    #[serde(other)]
    Unknown,
}
