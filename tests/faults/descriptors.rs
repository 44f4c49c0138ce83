//! R11: a descriptor that was handed down and is of the wrong type, does not listen, has another address, or is not there. The
//! successor refuses it by name, and exits.

use std::{
    fs::File,
    io::{IoSlice, Write},
    net::{TcpListener, UdpSocket},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};

use harness::{Echo, Ended, Exit, Place, StartScript};

/// A predecessor of the test's own, which hands over what it should not.
struct Predecessor {
    echo: Echo,
    socket: UnixStream,
}

impl Predecessor {
    fn new() -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let echo = Echo::bare();
        let server = harness::program("echo");
        // The shell's pid is that of the program that it becomes.
        let script = StartScript::at(echo.place().path("successor"));
        script.write(&format!(
            "exec 3<&0 </dev/null; PORTCULLIS_HANDOFF=3:$$:nonce exec {} \"$@\"",
            server.display()
        ));
        let bind = format!("tcp://{}", echo.place().address(6789));
        let admin = format!("tcp://{}", echo.admin());
        let echo = echo.program(script.path()).stdin(theirs.into());
        Self { echo: echo.option("--bind", bind).option("--admin", admin), socket: ours }
    }

    fn place(&self) -> &Place {
        self.echo.place()
    }

    fn send(&self, message: &Value, descriptors: &[OwnedFd]) {
        let body = message.to_string().into_bytes();
        let mut frame = u32::try_from(body.len()).expect("it is short").to_be_bytes().to_vec();
        frame.extend_from_slice(&body);
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights = if raw.is_empty() { &[] } else { &rights[..] };
        let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
        let sent = sendmsg::<()>(socket, &[IoSlice::new(&frame)], rights, flags, None);
        assert_eq!(sent.expect("it is open"), frame.len());
    }

    /// Says that there are so many descriptors for the one listener `echo`.
    fn announce(&self, descriptors: usize) {
        let address = self.place().address(6789).to_string();
        let listener = json!({"name": "echo", "kind": "tcp", "address": address, "uri": "tcp://whatever:1"});
        self.send(
            &json!({
                "type": "manifest", "protocol": 1, "oldest_protocol": 1, "generation": 7,
                "descriptors": descriptors, "listeners": [listener], "state": [], "generations": [],
            }),
            &[],
        );
    }

    /// The successor ends with an error that says these.
    async fn must_be_refused(self, named: &[&str]) {
        let Self { echo, socket } = self;
        let Ended { exit, said } = echo.run_to_its_end().await;
        assert_eq!(exit, Exit::Code(1), "{said}");
        for words in named {
            assert!(said.contains(words), "it should say {words:?}: {said}");
        }
        drop(socket);
    }

    /// What it gets instead of a TCP socket that listens on its address.
    async fn hands_down(self, descriptor: impl Into<OwnedFd>, named: &str) {
        self.announce(1);
        self.send(&json!({"type": "descriptors", "count": 1}), &[descriptor.into()]);
        self.must_be_refused(&["passed `echo`", named]).await;
    }
}

#[tokio::test]
async fn a_descriptor_of_the_wrong_type_is_refused() {
    let file = File::open("/proc/self/exe").expect("it is there");
    Predecessor::new().hands_down(file, "but it is a regular file").await;
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    Predecessor::new().hands_down(reader, "but it is a named pipe").await;
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port of the kernel's");
    Predecessor::new().hands_down(udp, "but it is an IPv4 datagram socket").await;
    let predecessor = Predecessor::new();
    let unix = UnixListener::bind(predecessor.place().path("echo.sock")).expect("a directory of ours");
    predecessor.hands_down(unix, "but it is a Unix stream socket").await;
}

#[tokio::test]
async fn a_descriptor_that_does_not_listen_is_refused() {
    let predecessor = Predecessor::new();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&predecessor.place().address(6789).into()).expect("an address of ours");
    predecessor.hands_down(socket, "but it does not listen").await;
}

#[tokio::test]
async fn a_descriptor_with_another_address_is_refused() {
    let predecessor = Predecessor::new();
    let address = predecessor.place().address(6790);
    let listener = TcpListener::bind(address).expect("an address of ours");
    predecessor.hands_down(listener, &format!("but it listens on {address}")).await;
}

#[tokio::test]
async fn a_missing_descriptor_is_refused() {
    let predecessor = Predecessor::new();
    predecessor.announce(1);
    predecessor.send(&json!({"type": "descriptors", "count": 1}), &[]);
    predecessor.must_be_refused(&["descriptors were lost on the way"]).await;

    let predecessor = Predecessor::new();
    predecessor.announce(0);
    predecessor.must_be_refused(&["manifest does not fit 0 descriptors"]).await;
}

#[tokio::test]
async fn garbage_instead_of_a_manifest_is_refused() {
    let mut predecessor = Predecessor::new();
    predecessor.socket.write_all(b"\0\0\0\x05hello").expect("it is open");
    predecessor.must_be_refused(&["protocol error of the predecessor in step `manifest`"]).await;
}
