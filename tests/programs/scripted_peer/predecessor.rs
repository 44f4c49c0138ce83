//! A predecessor: it binds the address of its `--bind` option, and hands it to the program of `SUCCESSOR`.

use std::{
    io::{PipeReader, Read},
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command},
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use serde_json::Value;

use crate::{
    channel::Channel,
    transcript::{Line, Speaker},
};

/// The handoff socket is its standard input at first, which every process can be given; a successor takes none of the standard
/// descriptors. `exec` keeps the process, and so the pid that the variable holds for.
const START: &str = r#"
    exec 9<&0 </dev/null
    PORTCULLIS_HANDOFF=9:$$:00c0ffee00c0ffee
    export PORTCULLIS_HANDOFF
    exec "$SUCCESSOR" "$@"
"#;

pub(crate) fn play(lines: Vec<Line>) {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let bind = arguments.iter().position(|argument| argument == "--bind").expect("a --bind option");
    let address = arguments[bind + 1].strip_prefix("tcp://").expect("a TCP address").to_owned();
    let listener = TcpListener::bind(&address).expect("an address of our own");

    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let mut channel = Channel::new(ours, vec![("127.0.0.1:6789".to_owned(), address)]);
    let (mut descriptors, surplus) = payload(&lines[..], listener);
    let mut successor = Some(theirs);
    let mut child = None;
    // What the harness waits for.
    eprintln!("scripted peer: serving generation=1");
    for line in lines {
        // What is said first lies in the socket before the successor is started.
        if line.speaker == Speaker::Successor
            && let Some(socket) = successor.take()
        {
            child = Some(start(socket, &arguments));
        }
        channel.play(&line, Speaker::Predecessor, &mut descriptors);
    }
    let mut child = child.expect("a successor says something");
    // Whatever is left of the payload is closed with the channel.
    drop((channel, descriptors));
    if let Some(mut surplus) = surplus {
        // Its end comes when nobody has the other end.
        assert_eq!(surplus.read(&mut [0]).expect("a pipe"), 0);
        eprintln!("scripted peer: surplus descriptors are closed");
    }
    eprintln!("scripted peer: done");
    // We are its parent.
    let status = child.wait().expect("our child");
    eprintln!("scripted peer: the successor ended: {status}");
}

fn start(socket: UnixStream, arguments: &[String]) -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", START, "sh"]).args(arguments).stdin(OwnedFd::from(socket));
    command.spawn().expect("a shell")
}

/// What the manifest of these lines lists, in its order. What lies beyond are ends of a pipe, and its other end is returned.
fn payload(lines: &[Line], listener: TcpListener) -> (Vec<OwnedFd>, Option<PipeReader>) {
    let manifest = lines.iter().map(Line::message).find(|message| message["type"] == "manifest");
    let manifest = manifest.expect("a predecessor has a manifest");
    let length = |list: &Value| list.as_array().expect("a list").len();
    assert_eq!(length(&manifest["listeners"]), 1);

    let mut descriptors = vec![OwnedFd::from(listener)];
    descriptors.extend((0..length(&manifest["state"])).map(|_| memory(SealFlag::all())));
    for _ in 0..length(&manifest["generations"]) {
        descriptors.push(memory(SealFlag::empty()));
        descriptors.push(pidfd_open(getpid(), PidfdFlags::empty()).expect("our own pidfd"));
    }
    if manifest["page"] == true {
        descriptors.push(memory(SealFlag::empty()));
    }
    let count = usize::try_from(manifest["descriptors"].as_u64().expect("a number")).expect("small");
    let mut surplus = None;
    if descriptors.len() < count {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        while descriptors.len() < count {
            descriptors.push(writer.try_clone().expect("a copy").into());
        }
        surplus = Some(reader);
    }
    (descriptors, surplus)
}

fn memory(seals: SealFlag) -> OwnedFd {
    let memory =
        memfd_create(c"golden", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).expect("memory");
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals)).expect("it can be sealed");
    memory
}
