//! A service manager, as far as a service sees one: a notify socket, and descriptors that are passed across `exec`.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt};
use tokio::{io::Interest, sync::watch, task::JoinHandle};

use super::{Process, within};

/// Listens as the service manager does, and keeps what it is told.
pub struct Manager {
    notices: Arc<Mutex<Vec<Notice>>>,
    kept: Arc<Mutex<Vec<(String, OwnedFd)>>>,
    length: watch::Receiver<usize>,
    reading: JoinHandle<()>,
}

/// One message.
#[derive(Debug)]
pub struct Notice {
    /// Who sent it, by the kernel's word.
    pub sender: u32,
    /// Its lines.
    pub fields: Vec<(String, String)>,
}

impl Notice {
    /// The value of its only field of this name.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| &**value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice in {self:?}");
        value
    }

    pub fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// The number that a field holds.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let value = self.field(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        value.parse().unwrap_or_else(|_| panic!("{name} is no number in {self:?}"))
    }

    /// Whether it says that its sender is the main process.
    pub fn names_its_sender(&self) -> bool {
        self.field("MAINPID") == Some(&*self.sender.to_string())
    }
}

impl Manager {
    /// At a path.
    pub fn at(path: &Path) -> Self {
        Self::on(UnixDatagram::bind(path).expect("a path of ours"))
    }

    /// At an abstract name.
    pub fn named(name: &str) -> Self {
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        Self::on(UnixDatagram::bind_addr(&address).expect("a name of ours"))
    }

    fn on(socket: UnixDatagram) -> Self {
        setsockopt(&socket, sockopt::PassCred, &true).expect("a socket of ours");
        socket.set_nonblocking(true).expect("a socket of ours");
        let socket = tokio::net::UnixDatagram::from_std(socket).expect("within a runtime");
        let (sender, length) = watch::channel(0);
        let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
        let kept: Arc<Mutex<Vec<(String, OwnedFd)>>> = Arc::default();
        let (all, store) = (notices.clone(), kept.clone());
        let reading = tokio::spawn(async move {
            loop {
                let message = socket.async_io(Interest::READABLE, || receive(&socket)).await;
                let (notice, descriptors) = message.expect("a message with its sender");
                keep(&mut lock(&store), &notice, descriptors);
                lock(&all).push(notice);
                sender.send_modify(|length| *length += 1);
            }
        });
        Self { notices, kept, length, reading }
    }

    fn notices(&self) -> MutexGuard<'_, Vec<Notice>> {
        lock(&self.notices)
    }

    /// How many messages there are: a place to wait from.
    pub fn len(&self) -> usize {
        self.notices().len()
    }

    /// What one looks for in the messages from `start` on.
    pub fn look<T>(&self, start: usize, look: impl FnMut(&Notice) -> Option<T>) -> Vec<T> {
        self.notices().iter().skip(start).filter_map(look).collect()
    }

    /// Waits for a message from `start` on, and takes from it what one looks for.
    pub async fn wait_from<T>(
        &self,
        start: usize,
        what: &str,
        mut look: impl FnMut(&Notice) -> Option<T>,
    ) -> T {
        let mut length = self.length.clone();
        let looking = async {
            loop {
                length.borrow_and_update();
                if let Some(found) = self.notices().iter().skip(start).find_map(&mut look) {
                    return found;
                }
                length.changed().await.expect("the manager reads");
            }
        };
        match tokio::time::timeout(super::DEADLINE, looking).await {
            Ok(found) => found,
            Err(_) => panic!("the manager was not told: {what}; it was told {:#?}", self.notices()),
        }
    }

    /// Waits until it is told that `process` is the main one and ready. Returns the status that came with it.
    pub async fn ready_from(&self, start: usize, process: &Process) -> String {
        self.wait_from(start, &format!("process {} is ready", process.pid()), |notice| {
            let ready = notice.field("READY") == Some("1") && notice.names_its_sender();
            let status = notice.field("STATUS").unwrap_or_default().to_owned();
            (ready && notice.sender == process.pid()).then_some(status)
        })
        .await
    }

    /// What it keeps now, each with its name.
    pub fn kept(&self) -> Vec<(String, OwnedFd)> {
        let kept = lock(&self.kept);
        kept.iter().map(|(name, it)| (name.clone(), it.try_clone().expect("a descriptor"))).collect()
    }

    /// Waits until it keeps sockets under these names, and gives them.
    pub async fn keeps(&self, names: &[&str]) -> Vec<(String, OwnedFd)> {
        let mut length = self.length.clone();
        within(&format!("the manager keeps {names:?}"), async {
            loop {
                length.borrow_and_update();
                let kept = self.kept();
                let mut found: Vec<&str> = kept.iter().map(|(name, _)| &**name).collect();
                found.sort_unstable();
                if found == names {
                    return kept;
                }
                length.changed().await.expect("the manager reads");
            }
        })
        .await
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.reading.abort();
        if std::thread::panicking() {
            eprintln!("---- what the manager was told ----\n{:#?}", self.notices());
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As the manager does it: a socket that it has is not taken twice, and a name that is removed takes all of its own away.
fn keep(kept: &mut Vec<(String, OwnedFd)>, notice: &Notice, descriptors: Vec<OwnedFd>) {
    let name = notice.field("FDNAME").unwrap_or("stored");
    if notice.has("FDSTOREREMOVE") {
        kept.retain(|(other, _)| other != name);
    }
    for descriptor in descriptors.into_iter().filter(|_| notice.has("FDSTORE")) {
        if kept.iter().all(|(_, other)| identity(other) != identity(&descriptor)) {
            kept.push((name.to_owned(), descriptor));
        }
    }
}

/// Which socket it is, whatever its number.
pub fn identity(descriptor: impl AsFd) -> u64 {
    nix::sys::stat::fstat(descriptor).expect("an open descriptor").st_ino
}

fn receive(socket: &tokio::net::UnixDatagram) -> io::Result<(Notice, Vec<OwnedFd>)> {
    let mut buffer = [0; 4096];
    let mut control = nix::cmsg_space!(UnixCredentials, [i32; 64]);
    let mut slices = [io::IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let (mut sender, mut descriptors) = (None, Vec::new());
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::ScmCredentials(credentials) => sender = Some(credentials.pid()),
            ControlMessageOwned::ScmRights(received) => {
                // SAFETY: the kernel has made them for this message, and nobody else owns them.
                descriptors.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
            _ => {}
        }
    }
    let length = message.bytes;
    let text = std::str::from_utf8(&buffer[..length]).map_err(io::Error::other)?;
    let fields = text.lines().map(|line| line.split_once('=').unwrap_or((line, "")));
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let sender = sender.and_then(|pid| u32::try_from(pid).ok());
    Ok((Notice { sender: sender.ok_or(io::ErrorKind::InvalidData)?, fields }, descriptors))
}
