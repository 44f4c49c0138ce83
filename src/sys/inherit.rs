//! The handoff socket, taken by its number.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::{Domain, SockRef, Type};

use super::{VARIABLE, numbers::has_crossed_exec};

/// The handoff socket this process was started with, taken at most once.
pub(crate) struct Inherited {
    pub(crate) socket: OwnedFd,
    pub(crate) nonce: String,
}

/// Takes the handoff socket that [`VARIABLE`] names, if it names one to this very process.
pub(crate) fn inherit() -> Option<Inherited> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    let value = std::env::var_os(VARIABLE)?;
    let (descriptor, nonce) = meant_for(&value, std::process::id())?;
    if descriptor <= 2 || TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    if !has_crossed_exec(descriptor) {
        return None;
    }
    // SAFETY: it is open. What std and others have opened in this process is closed on exec, which
    // this one is not: so nothing here owns it, and nothing closes it meanwhile.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    if !is_handoff_socket(socket).unwrap_or(false) {
        return None;
    }
    // SAFETY: the process that started this one opened the descriptor for it and named it to this pid
    // alone; it is taken once (`TAKEN`), and it has the very properties that the handoff socket
    // has.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    fcntl_setfd(&socket, FdFlags::CLOEXEC).ok()?;
    Some(Inherited { socket, nonce })
}

/// Whether a process with this environment (as `/proc/PID/environ` has it) was started as a
/// successor.
pub(crate) fn is_successor(environment: &[u8], pid: u32) -> bool {
    environment.split(|byte| *byte == 0).any(|variable| {
        let value = variable.strip_prefix(VARIABLE.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        value.is_some_and(|value| meant_for(OsStr::from_bytes(value), pid).is_some())
    })
}

/// Reads `descriptor:pid:nonce`, if the pid is `own`.
pub(crate) fn meant_for(value: &OsStr, own: u32) -> Option<(RawFd, String)> {
    let value = std::str::from_utf8(value.as_bytes()).ok()?;
    let (descriptor, rest) = value.split_once(':')?;
    let (pid, nonce) = rest.split_once(':')?;
    (pid.parse() == Ok(own)).then_some(())?;
    Some((descriptor.parse().ok()?, nonce.to_owned()))
}

/// Whether this is an unnamed Unix stream socket.
fn is_handoff_socket(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let socket = SockRef::from(&socket);
    Ok(socket.domain()? == Domain::UNIX
        && socket.r#type()? == Type::STREAM
        && socket.local_addr()?.is_unnamed())
}

#[cfg(test)]
mod tests {
    use std::os::{
        fd::{AsFd, AsRawFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
    };

    use super::*;

    #[test]
    fn the_variable_holds_for_one_process_alone() {
        let meant = |value: &str| meant_for(OsStr::new(value), 4711);
        assert_eq!(meant("9:4711:ab"), Some((9, "ab".to_owned())));
        assert_eq!(meant("9:0000004711:ab"), Some((9, "ab".to_owned())));
        assert_eq!(meant("9:4712:ab"), None);
        for garbage in ["", "9", "9:4711", "x:4711:ab", ":4711:ab", "9::ab"] {
            assert_eq!(meant(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn a_successor_is_told_by_its_own_variable_and_not_by_its_parents() {
        let environment = b"A=b\0PORTCULLIS_HANDOFF=9:4711:ab\0PORTCULLIS_HANDOFF_NOT=9:1:ab\0";
        assert!(is_successor(environment, 4711));
        assert!(!is_successor(environment, 1));
        assert!(!is_successor(b"", 4711));
    }

    #[test]
    fn only_an_unnamed_unix_stream_that_survives_exec_is_taken() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(!has_crossed_exec(ours.as_raw_fd()), "closed on exec");
        fcntl_setfd(&ours, FdFlags::empty()).unwrap();
        assert!(has_crossed_exec(ours.as_raw_fd()));
        assert!(is_handoff_socket(ours.as_fd()).unwrap());

        let (datagrams, _theirs) = UnixDatagram::pair().unwrap();
        assert!(!is_handoff_socket(datagrams.as_fd()).unwrap());
        let name = SocketAddr::from_abstract_name(format!("portcullis-{}", std::process::id())).unwrap();
        let named = UnixListener::bind_addr(&name).unwrap();
        assert!(!is_handoff_socket(named.as_fd()).unwrap());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(is_handoff_socket(file.as_fd()).is_err());
    }
}
