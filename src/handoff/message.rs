//! The messages of a handoff: what the two generations say to each other.
//!
//! A message is a JSON object whose `type` names it. Fields and messages that a receiver does not know are
//! ignored, so that two versions of this library understand each other. How messages travel is
//! [`channel`](super::channel)'s affair.

use serde::{Deserialize, Serialize};

use crate::bind::SocketDescription;

/// The newest version of the protocol that this library speaks.
pub(crate) const PROTOCOL: u32 = 1;

/// The oldest version of the protocol that this library speaks.
pub(crate) const OLDEST_PROTOCOL: u32 = 1;

/// One message, in either direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Message {
    /// The successor's first word.
    Hello(Hello),
    /// The predecessor's answer: what it hands over.
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
    /// The successor accepts.
    Settled,
    /// The restart is off: the successor must not serve.
    Abort { reason: String },
    /// A message of a newer version of this library.
    #[serde(other)]
    Unknown,
}

/// Who the successor is, and which versions of the protocol it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    pub(crate) oldest_protocol: u32,
    pub(crate) pid: u32,
    /// The nonce of the variable that named the socket.
    pub(crate) nonce: String,
    /// The version of the library, for the log.
    pub(crate) version: String,
}

/// What the predecessor hands over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) protocol: u32,
    /// The number of the predecessor's generation.
    pub(crate) generation: u64,
    /// In the order of the descriptors that follow.
    pub(crate) listeners: Vec<ListenerEntry>,
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

/// The point of no return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Commit {
    /// Seconds from the request for the restart to this message, for the successor's metrics.
    pub(crate) took_seconds: f64,
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
            Self::Settled => "settled",
            Self::Abort { .. } => "abort",
            Self::Unknown => "unknown",
        }
    }
}

impl Hello {
    /// The version both sides speak, the newest of them.
    pub(crate) fn agreed_protocol(&self) -> Option<u32> {
        let newest = self.protocol.min(PROTOCOL);
        (newest >= self.oldest_protocol.max(OLDEST_PROTOCOL)).then_some(newest)
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
        assert_eq!(hello.agreed_protocol(), Some(1));
        let manifest = r#"{"type":"manifest","protocol":1,"generation":3,
            "listeners":[{"name":"echo","kind":"tcp","address":"127.0.0.1:6789","uri":"tcp://127.0.0.1:6789"}]}"#;
        let Message::Manifest(manifest) = read(manifest) else { panic!("not a manifest") };
        assert_eq!((manifest.generation, manifest.listeners[0].name.as_str()), (3, "echo"));
    }

    #[test]
    fn a_successor_without_a_common_version_is_told_apart() {
        let hello = |protocol, oldest_protocol| Hello {
            protocol,
            oldest_protocol,
            pid: 1,
            nonce: String::new(),
            version: String::new(),
        };
        assert_eq!(hello(9, 1).agreed_protocol(), Some(1));
        assert_eq!(hello(9, 2).agreed_protocol(), None);
        assert_eq!(hello(0, 0).agreed_protocol(), None);
    }
}
