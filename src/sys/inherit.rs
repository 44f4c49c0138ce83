//! The handoff socket, taken by its number.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt},
};

use super::VARIABLE;

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
    // SAFETY: this asks for the flags of a number, which may be that of no descriptor: then the answer is EBADF.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
        return None;
    }
    // SAFETY: it is open. Nobody here closes it meanwhile unless it is somebody else's, and what std and others opened
    // in this process is told apart by the check: it is closed on exec, which ours is not yet.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    if !is_handoff_socket(socket).unwrap_or(false) {
        return None;
    }
    // SAFETY: the process that started this one opened the descriptor for it and named it to this pid alone; it is
    // taken once (`TAKEN`), and it has the very properties that the handoff socket has.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    Some(Inherited { socket, nonce })
}

/// Whether a process with this environment (as `/proc/PID/environ` has it) was started as a successor.
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

/// Whether this is an unnamed Unix stream socket that survives `exec`.
fn is_handoff_socket(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    let flags = FdFlag::from_bits_truncate(fcntl(socket, FcntlArg::F_GETFD)?);
    let address: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let unnamed = address.as_unix_addr().is_some_and(|unix| unix.path().is_none());
    Ok(!flags.contains(FdFlag::FD_CLOEXEC)
        && unnamed
        && address.family() == Some(AddressFamily::Unix)
        && getsockopt(&socket.as_fd(), sockopt::SockType)? == SockType::Stream)
}

#[cfg(test)]
mod tests {
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
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(is_handoff_socket(ours.as_fd()), Ok(false), "closed on exec");
        fcntl(&ours, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        assert_eq!(is_handoff_socket(ours.as_fd()), Ok(true));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(is_handoff_socket(file.as_fd()).is_err());
    }
}
