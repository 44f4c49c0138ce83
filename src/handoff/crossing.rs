//! Where a descriptor crosses from one process into another: the only unsafe code of this crate.
//!
//! There are three crossings: a message with `SCM_RIGHTS`, the handoff socket that a new process inherits across
//! `exec`, and the new process taking that socket by its number.

#![allow(unsafe_code)]

use std::{
    ffi::{CString, OsStr, OsString},
    io::{self, IoSlice, IoSliceMut},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    cmsg_space,
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockType, SockaddrStorage, getsockname,
        getsockopt, recvmsg, sendmsg, sockopt,
    },
};
use tokio::process::{Child, Command};

use super::{StartCommand, channel::MAX_DESCRIPTORS};

/// The variable that names the handoff socket to a new process: `descriptor:pid:nonce`.
///
/// It holds for the process with that pid alone: a grandchild that inherits the variable starts a line of its own.
pub(crate) const VARIABLE: &str = "PORTCULLIS_HANDOFF";

/// Sends bytes, and descriptors with the first of them. Returns how many bytes were taken.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    Ok(sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)?)
}

/// What one call of [`receive`] brought.
pub(super) struct Received {
    /// Bytes read; 0 is the end of the stream.
    pub(super) bytes: usize,
    /// Descriptors that came with them, closed on `exec`.
    pub(super) descriptors: Vec<OwnedFd>,
    /// The kernel could not install all descriptors that were sent (`MSG_CTRUNC`, recvmsg(2)).
    pub(super) cut_off: bool,
}

/// Receives bytes, and the descriptors that came with them.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let mut descriptors = Vec::new();
    // A cut-off control message still holds the descriptors that were installed, and they must be owned.
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for this call alone, so nobody else owns them.
            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let cut_off = message.flags.contains(MsgFlags::MSG_CTRUNC);
    Ok(Received { bytes: message.bytes, descriptors, cut_off })
}

/// Starts `command` with `socket` as its handoff socket. Blocks until the new program runs or `exec` has failed.
///
/// The socket stays closed-on-exec in this process: the flag is cleared in the child alone, after the fork.
pub(super) fn spawn(command: &StartCommand, socket: &OwnedFd, nonce: &str) -> io::Result<Child> {
    let mut image = Image::new(command, socket.as_raw_fd(), nonce)?;
    let descriptor = socket.as_raw_fd();
    let mut starter = Command::new(command.program());
    if let Some(directory) = command.directory() {
        starter.current_dir(directory);
    }
    // SAFETY: between fork and exec only async-signal-safe calls are made and nothing is allocated: getpid(2),
    // fcntl(2) and execvpe(3), as std itself calls execvp(3); the memory they use was laid out before the fork.
    unsafe {
        starter.pre_exec(move || {
            // SAFETY: `descriptor` is open: the caller holds it until `spawn` returns, and the child has a copy.
            let socket = BorrowedFd::borrow_raw(descriptor);
            fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Err(image.exec())
        });
    }
    starter.spawn()
}

/// A program, its arguments and its environment, laid out for `exec`.
///
/// std has no way to put the child's own pid into its environment, and it is unknown before the fork: so the
/// variable is laid out with room for the digits, they are filled in after the fork, and `exec` is called here.
struct Image {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// `descriptor:pid:nonce`, with its terminating zero.
    variable: Vec<u8>,
    /// Where the digits of the pid go within `variable`.
    digits: std::ops::Range<usize>,
    /// Room for the pointers that `exec` takes, each list ended by a null pointer.
    argument_pointers: Vec<*const libc::c_char>,
    environment_pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers lead nowhere until `exec` fills them in from what the value itself owns.
unsafe impl Send for Image {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for Image {}

impl Image {
    /// Digits of a pid; Linux has at most seven.
    const PID_DIGITS: usize = 10;

    fn new(command: &StartCommand, descriptor: RawFd, nonce: &str) -> io::Result<Self> {
        let environment = std::env::vars_os()
            .filter(|(name, _)| name != VARIABLE)
            .map(|(name, value)| terminated([name.as_os_str(), OsStr::new("="), &value]))
            .collect::<io::Result<Vec<_>>>()?;
        let arguments = command
            .arguments()
            .iter()
            .map(|argument| terminated([argument.as_os_str()]))
            .collect::<io::Result<Vec<_>>>()?;
        let before = format!("{VARIABLE}={descriptor}:");
        let digits = before.len()..before.len() + Self::PID_DIGITS;
        let variable = format!("{before}{:0width$}:{nonce}\0", 0, width = Self::PID_DIGITS).into_bytes();
        Ok(Self {
            program: terminated([command.program()])?,
            argument_pointers: vec![ptr::null(); arguments.len() + 1],
            environment_pointers: vec![ptr::null(); environment.len() + 2],
            arguments,
            environment,
            variable,
            digits,
        })
    }

    /// Becomes the new program; returns only if that failed. Allocates nothing.
    fn exec(&mut self) -> io::Error {
        let mut pid = std::process::id();
        for digit in self.variable[self.digits.clone()].iter_mut().rev() {
            // The remainder is below ten.
            *digit = b'0' + (pid % 10) as u8;
            pid /= 10;
        }
        for (pointer, argument) in self.argument_pointers.iter_mut().zip(&self.arguments) {
            *pointer = argument.as_ptr();
        }
        for (pointer, variable) in self.environment_pointers.iter_mut().zip(&self.environment) {
            *pointer = variable.as_ptr();
        }
        self.environment_pointers[self.environment.len()] = self.variable.as_ptr().cast();
        // SAFETY: every pointer leads to a string with a terminating zero that `self` owns, and both lists end with
        // the null pointer they were made with.
        unsafe {
            libc::execvpe(
                self.program.as_ptr(),
                self.argument_pointers.as_ptr(),
                self.environment_pointers.as_ptr(),
            );
        }
        io::Error::last_os_error()
    }
}

/// The parts as one string with a terminating zero.
fn terminated<const N: usize>(parts: [&OsStr; N]) -> io::Result<CString> {
    let mut whole = OsString::new();
    for part in parts {
        whole.push(part);
    }
    CString::new(whole.into_vec()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// The handoff socket this process was started with, taken at most once.
pub(super) struct Inherited {
    pub(super) socket: OwnedFd,
    pub(super) nonce: String,
}

/// Takes the handoff socket that [`VARIABLE`] names, if it names one to this very process.
pub(super) fn inherit() -> Option<Inherited> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    let value = std::env::var_os(VARIABLE)?;
    let (descriptor, nonce) = meant_for(&value, std::process::id())?;
    if descriptor <= 2 || TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    // SAFETY: borrowed for these checks only. A number that is not open gives EBADF, and a number that std or
    // somebody else opened since is told apart below: it is closed on exec, which ours is not yet.
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

/// Reads `descriptor:pid:nonce`, if the pid is `own`.
fn meant_for(value: &OsStr, own: u32) -> Option<(RawFd, String)> {
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
        && nix::sys::socket::SockaddrLike::family(&address) == Some(AddressFamily::Unix)
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
    fn only_an_unnamed_unix_stream_that_survives_exec_is_taken() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(is_handoff_socket(ours.as_fd()), Ok(false), "closed on exec");
        fcntl(&ours, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        assert_eq!(is_handoff_socket(ours.as_fd()), Ok(true));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(is_handoff_socket(file.as_fd()).is_err());
    }
}
