//! A new program that is given the handoff socket.

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::ffi::OsStringExt,
    },
    ptr,
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::process::{Child, Command};

use super::{super::StartCommand, VARIABLE};
use crate::systemd::ACTIVATION;

/// Starts `command` with `socket` as its handoff socket. Blocks until the new program runs or `exec` has failed.
///
/// The socket stays closed-on-exec in this process: the flag is cleared in the child alone, after the fork.
pub(in super::super) fn spawn(command: &StartCommand, socket: &OwnedFd, nonce: &str) -> io::Result<Child> {
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
            .filter(|(name, _)| name != VARIABLE && ACTIVATION.iter().all(|other| name != other))
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
