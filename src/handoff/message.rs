//! The messages of a handoff: what the two generations say to each other.
//!
//! A message is a JSON object whose `type` names it. Fields and messages that a receiver does not know are
//! ignored, so that two versions of this library understand each other. How messages travel is
//! [`channel`](super::channel)'s affair.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bind::SocketDescription;

/// One message, in either direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Message {
    /// The successor's first word.
    Hello(Hello),
    /// What the predecessor hands over.
    Manifest(Manifest),
    /// The next `count` descriptors of the manifest travel with this message. No other message carries any, in
    /// any version.
    Descriptors { count: usize },
    /// The successor has compared the manifest with what it wants.
    Claim(Claim),
    /// The successor can serve. It does not accept yet.
    Ready,
    /// The predecessor has stopped accepting: the successor serves from now on.
    Commit(Commit),
    /// The successor accepts, and its probation begins.
    Serving(Serving),
    /// The successor has passed its probation: the predecessor is not needed any more.
    Settled,
    /// The successor finds itself unfit to serve. It has stopped accepting.
    Sick { reason: String },
    /// The restart is off: the successor must not serve.
    Abort { reason: String },
    /// The predecessor lets go, and passes on a restart that was requested of it: the successor
    /// restarts.
    Restart,
    /// A message of a newer version of this library.
    #[serde(other)]
    Unknown,
}

/// Who the successor is, and which versions of the protocol it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    #[serde(flatten)]
    pub(crate) versions: Versions,
    pub(crate) pid: u32,
    /// The nonce of the variable that named the socket; empty on a takeover.
    pub(crate) nonce: String,
    /// The version of the library, for the log.
    pub(crate) version: String,
}

/// The versions of the protocol that a process speaks: the newest and the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) protocol: u32,
    pub(crate) oldest_protocol: u32,
}

/// What the predecessor hands over.
///
/// Its form is the same in all versions, but for fields that are added: it is sent before it is known which
/// version the successor speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    #[serde(flatten)]
    pub(crate) versions: Versions,
    /// The number of the predecessor's generation.
    pub(crate) generation: u64,
    /// How many descriptors follow: one for each listener, one for each state, one or two for each generation (its page
    /// of metrics, if it has one, and its pidfd), one for the successor's own page, in this order. Those beyond are of a
    /// newer version of this library.
    pub(crate) descriptors: usize,
    pub(crate) listeners: Vec<ListenerEntry>,
    /// What the application hands on, by name.
    #[serde(default)]
    pub(crate) state: Vec<StateEntry>,
    /// The predecessor, and older generations that still drain.
    #[serde(default)]
    pub(crate) generations: Vec<GenerationEntry>,
    /// The last descriptor is a page in which the successor shall count, and which the predecessor reads if it is rolled
    /// back.
    #[serde(default)]
    pub(crate) page: bool,
}

/// One listening socket of a [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenerEntry {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) socket: SocketDescription,
    /// The URI that the predecessor was configured with.
    pub(crate) uri: String,
}

/// One state of a [`Manifest`]. Its bytes are in a sealed memfd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateEntry {
    pub(crate) name: String,
}

/// A generation that drains, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GenerationEntry {
    pub(crate) generation: u64,
    pub(crate) pid: u32,
    /// Whether its page of metrics is handed over.
    #[serde(default)]
    pub(crate) page: bool,
}

/// What the successor makes of the [`Manifest`]: names of listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Goes on with the inherited socket.
    pub(crate) used: Vec<String>,
    /// Bound by the successor itself.
    pub(crate) bound: Vec<String>,
    /// Inherited, but of no use to the successor, which has closed its copy.
    pub(crate) unwanted: Vec<String>,
}

/// The successor's turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Commit {
    /// Seconds from the request for the restart to this message, for the successor's metrics.
    pub(crate) took_seconds: f64,
}

/// The successor's probation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Serving {
    /// Within so many seconds it will have settled, or found itself sick.
    pub(crate) probation_seconds: f64,
}

impl Message {
    /// The word for it in errors and logs.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Manifest(_) => "manifest",
            Self::Descriptors { .. } => "descriptors",
            Self::Claim(_) => "claim",
            Self::Ready => "ready",
            Self::Commit(_) => "commit",
            Self::Serving(_) => "serving",
            Self::Settled => "settled",
            Self::Sick { .. } => "sick",
            Self::Abort { .. } => "abort",
            Self::Restart => "restart",
            Self::Unknown => "unknown",
        }
    }
}

impl Versions {
    /// What this library speaks.
    pub(crate) const OURS: Self = Self { protocol: 1, oldest_protocol: 1 };

    /// The version that both sides speak, the newest of them.
    pub(crate) fn agreed(self) -> Option<u32> {
        let newest = self.protocol.min(Self::OURS.protocol);
        (newest >= self.oldest_protocol.max(Self::OURS.oldest_protocol)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, oldest_protocol } = self;
        if protocol == oldest_protocol {
            write!(f, "protocol {protocol}")
        } else {
            write!(f, "protocols {oldest_protocol} to {protocol}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Message {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn messages_and_fields_of_a_newer_version_are_ignored() {
        assert_eq!(read(r#"{"type":"weather","sun":true}"#), Message::Unknown);
        assert_eq!(read(r#"{"type":"ready","cache":"warm"}"#), Message::Ready);
    }

    #[test]
    fn protocol_1_is_understood_as_it_was_first_written() {
        let hello =
            r#"{"type":"hello","protocol":1,"oldest_protocol":1,"pid":7,"nonce":"a1","version":"0.1.0"}"#;
        let Message::Hello(hello) = read(hello) else { panic!("not a hello") };
        assert_eq!(hello.versions.agreed(), Some(1));
        let manifest = r#"{"type":"manifest","protocol":1,"oldest_protocol":1,"generation":3,"descriptors":1,
            "listeners":[{"name":"echo","kind":"tcp","address":"127.0.0.1:6789","uri":"tcp://127.0.0.1:6789"}]}"#;
        let Message::Manifest(manifest) = read(manifest) else { panic!("not a manifest") };
        assert_eq!((manifest.generation, manifest.listeners[0].name.as_str()), (3, "echo"));
    }

    #[test]
    fn a_process_without_a_common_version_is_told_apart() {
        let agreed = |protocol, oldest_protocol| Versions { protocol, oldest_protocol }.agreed();
        assert_eq!(agreed(9, 1), Some(1));
        assert_eq!(agreed(9, 2), None);
        assert_eq!(agreed(0, 0), None);
    }
}
