//! Frames with descriptors over a Unix stream socket, one after the other.

use std::{
    collections::VecDeque,
    io::{IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};
use serde_json::Value;

use crate::transcript::{self, Line, Speaker, kind};

pub(crate) struct Channel {
    socket: UnixStream,
    descriptors: VecDeque<OwnedFd>,
    /// How many descriptors of the manifest have not been announced yet.
    missing: u64,
    replacements: Vec<(String, String)>,
}

/// How long a peer may be silent.
const SILENCE: Duration = Duration::from_secs(30);

impl Channel {
    /// In what is said, the first of each pair becomes the second.
    pub(crate) fn new(socket: UnixStream, mut replacements: Vec<(String, String)>) -> Self {
        socket.set_read_timeout(Some(SILENCE)).expect("a socket");
        if let Ok(versions) = std::env::var("VERSIONS") {
            let (oldest, newest) = versions.split_once("..").expect("OLDEST..NEWEST");
            let golden = r#""protocol":1,"oldest_protocol":1"#.to_owned();
            replacements.push((golden, format!(r#""protocol":{newest},"oldest_protocol":{oldest}"#)));
        }
        Self { socket, descriptors: VecDeque::new(), missing: 0, replacements }
    }

    /// Plays one line: says it, or hears what it says. `give` is asked for the descriptors that travel with it. Returns the message.
    pub(crate) fn play(&mut self, line: &Line, own: Speaker, give: &mut Vec<OwnedFd>) -> Value {
        if line.speaker == own {
            let message = line.message();
            let count = message["count"].as_u64().map_or(0, |count| usize::try_from(count).expect("small"));
            self.say(&line.text, &give.drain(..count).collect::<Vec<_>>());
            eprintln!("scripted peer: said {}", kind(&message));
            return message;
        }
        if line.is_to_come() {
            return Value::Null;
        }
        let golden = line.message();
        if kind(&golden) != "descriptors" {
            let heard = self.expect(&golden);
            self.missing = heard["descriptors"].as_u64().unwrap_or(self.missing);
            return heard;
        }
        // In as many messages as it likes.
        while self.missing > 0 {
            let heard = self.expect(&golden);
            self.missing -= heard["count"].as_u64().expect("a number");
        }
        Value::Null
    }

    /// Hears a message that must be as this one.
    fn expect(&mut self, golden: &Value) -> Value {
        let Some(heard) = self.hear() else {
            eprintln!("scripted peer: heard the end instead of {}", kind(golden));
            std::process::exit(3);
        };
        eprintln!("scripted peer: heard {heard}");
        assert_eq!(kind(&heard), kind(golden));
        transcript::check(&heard, golden);
        heard
    }

    /// The descriptors that were received.
    pub(crate) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        self.descriptors.drain(..).collect()
    }

    fn say(&self, text: &str, descriptors: &[OwnedFd]) {
        let replace = |text: String, (from, to): &(String, String)| text.replace(from, to);
        let text = self.replacements.iter().fold(text.to_owned(), replace);
        let mut frame = u32::try_from(text.len()).expect("short").to_be_bytes().to_vec();
        frame.extend_from_slice(text.as_bytes());
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        let socket = self.socket.as_raw_fd();
        let sent = sendmsg::<()>(socket, &[IoSlice::new(&frame)], control, MsgFlags::MSG_NOSIGNAL, None);
        match sent {
            Ok(bytes) => assert_eq!(bytes, frame.len(), "a short frame is sent whole"),
            // Whoever does not listen any more has said why, or is dead.
            Err(error) => eprintln!("scripted peer: not heard any more: {error}"),
        }
    }

    /// `None` at the end.
    fn hear(&mut self) -> Option<Value> {
        let mut header = [0; 4];
        self.fill(&mut header)?;
        let mut body = vec![0; u32::from_be_bytes(header) as usize];
        self.fill(&mut body)?;
        Some(serde_json::from_slice(&body).expect("a frame is JSON"))
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Option<()> {
        while !buffer.is_empty() {
            let mut control = nix::cmsg_space!([RawFd; 253]);
            let mut slices = [IoSliceMut::new(buffer)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let socket = self.socket.as_raw_fd();
            let received = match recvmsg::<()>(socket, &mut slices, Some(&mut control), flags) {
                Ok(received) => received,
                // It has left without having read everything.
                Err(Errno::ECONNRESET) => return None,
                Err(error) => panic!("no message: {error}"),
            };
            for message in received.cmsgs().expect("room for all descriptors") {
                if let ControlMessageOwned::ScmRights(descriptors) = message {
                    // SAFETY: the kernel has just opened them for us, and nobody else knows them.
                    self.descriptors
                        .extend(descriptors.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
                }
            }
            let bytes = received.bytes;
            if bytes == 0 {
                return None;
            }
            buffer = &mut buffer[bytes..];
        }
        Some(())
    }
}
