//! The socket at which processes tell how they are: the server's side of sd_notify(3).

use std::{
    hash::{BuildHasher, RandomState},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram as StdDatagram},
    },
};

use socket2::SockRef;
use tokio::{io::Interest, net::UnixDatagram};

use crate::{
    sys::{self, Credentials},
    systemd::SUPERVISOR_PREFIX,
};

/// The longest datagram in bytes; systemd takes no longer ones either.
const LONGEST: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    name: String,
}

/// What somebody has sent. Descriptors that nobody takes are closed with it.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) text: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) sender: Credentials,
    /// Neither bytes nor descriptors of it are missing.
    pub(super) whole: bool,
}

impl NotifySocket {
    /// At an abstract address (unix(7)): there is no file that a read-only container could not
    /// have, that must be removed, or that a process with another root directory would not
    /// find. Whoever shares the network namespace can send to it, so the sender is told with
    /// every datagram.
    pub(super) fn bind() -> io::Result<Self> {
        let random = RandomState::new().hash_one(std::process::id());
        let name = format!("{SUPERVISOR_PREFIX}{}-{random:016x}", std::process::id());
        let socket = StdDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        SockRef::from(&socket).set_passcred(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixDatagram::from_std(socket)?, name })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub(super) fn address(&self) -> String {
        format!("@{}", self.name)
    }

    /// Waits until there may be a datagram. Cancel safe.
    pub(super) async fn readable(&self) {
        if let Err(error) = self.socket.readable().await {
            tracing::error!(%error, "cannot wait for what generations tell");
            // Not again and again: signals and the ends of processes are still heard.
            std::future::pending::<()>().await;
        }
    }

    /// The next datagram that is there.
    pub(super) fn receive(&self) -> Option<Datagram> {
        loop {
            let mut buffer = [0; LONGEST];
            let mut receive = || sys::receive(self.socket.as_fd(), &mut buffer);
            // Whether or not the runtime has heard of it: a process that is seen dead may have sent it
            // a moment before. Without the second call, `readable` would return for ever.
            let received = match receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.try_io(Interest::READABLE, receive)
                }
                received => received,
            };
            let received = match received {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => {
                    tracing::error!(%error, "cannot hear what generations tell");
                    return None;
                }
            };
            // Without a sender it was sent before the socket asked for one.
            let Some(sender) = received.sender else { continue };
            return Some(Datagram {
                text: buffer[..received.bytes].to_vec(),
                descriptors: received.descriptors,
                sender,
                whole: !received.too_long && !received.cut_off,
            });
        }
    }
}
