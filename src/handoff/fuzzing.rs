//! What the fuzz targets in `fuzz/` call. It is there only under `cargo fuzz`, and no part of the API.

#![allow(missing_docs)]

use std::{
    ffi::OsStr,
    fs::File,
    net::TcpListener,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

use super::{SealedState, Succession, Verdict, inbox::Inbox, message::Message};
use crate::sys::{self, Received};

/// A predecessor hears this. However it is cut into pieces, it means the same.
pub fn inbox(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else { return };
    let (whole, whole_failed) = read([bytes]);
    let (pieces, pieces_failed) = read(bytes.chunks(usize::from(*size) + 1));
    assert_eq!(whole, pieces);
    assert_eq!(whole_failed, pieces_failed);
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, bool) {
    let mut inbox = Inbox::new(0);
    let mut messages = Vec::new();
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        let received = Received {
            bytes: piece.len(),
            descriptors: Vec::new(),
            cut_off: false,
            sender: None,
            too_long: false,
        };
        let mut taken = inbox.take_in(received, piece);
        while taken.is_ok() {
            taken = match inbox.next_frame() {
                Ok(Some(message)) => {
                    messages.push(message);
                    Ok(())
                }
                Ok(None) => break,
                Err(error) => Err(error),
            };
        }
        if taken.is_err() {
            return (messages, true);
        }
    }
    (messages, false)
}

/// A successor hears this from its predecessor, over a real socket and with real descriptors, and then the end. Whatever comes
/// of it, no descriptor stays open.
pub fn successor(data: &[u8]) {
    thread_local! {
        static STAGE: Stage = Stage::new();
    }
    STAGE.with(|stage| stage.play(data));
}

struct Stage {
    runtime: Runtime,
    /// What can be handed down.
    payload: [OwnedFd; 3],
}

impl Stage {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = SealedState::new(b"state").unwrap();
        let payload = [
            listener.into(),
            state.as_fd().try_clone_to_owned().unwrap(),
            File::open("/dev/null").unwrap().into(),
        ];
        Self { runtime, payload }
    }

    /// The first byte says which descriptors travel with the first of the others.
    fn play(&self, data: &[u8]) {
        let Some((choice, bytes)) = data.split_first() else { return };
        let descriptors: Vec<_> = (0..usize::from(choice % 8))
            .map(|place| self.payload[(usize::from(choice / 8) + place) % self.payload.len()].as_fd())
            .collect();
        let before = open_descriptors();
        self.runtime.block_on(async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            _ = sys::send(theirs.as_fd(), bytes, &descriptors);
            drop(theirs);
            let taken = Succession::over(ours, String::new(), Duration::from_secs(5)).await;
            if let Ok((mut succession, _inheritance)) = taken {
                while !matches!(succession.verdict().await, Ok(Verdict::Gone) | Err(_)) {}
            }
        });
        assert_eq!(open_descriptors(), before, "a descriptor was left open");
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The variable that names the handoff socket: what is not meant for this process is not taken.
pub fn variable(data: &[u8]) {
    if sys::meant_for(OsStr::from_bytes(data), 4711).is_some() {
        assert!(data.windows(4).any(|digits| digits == b"4711"));
    }
}
