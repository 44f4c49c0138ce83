//! Executes a new program with inherited descriptors. Environment variables that are valid only for
//! its pid name them.

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStringExt, process::CommandExt},
    },
    process::Command,
    ptr,
};

use rustix::io::{FdFlags, fcntl_setfd};

use super::{ACTIVATION, ProcessHandle, StartCommand, VARIABLE, numbers::Numbers};

/// Starts `command` with `socket` as its handoff socket. Blocks until `exec` has succeeded or
/// failed. The caller must reap the child.
///
/// In this process the socket keeps the close-on-exec flag; only the child clears it, after the
/// fork.
pub(crate) fn spawn(command: &StartCommand, socket: &OwnedFd, nonce: &str) -> io::Result<ProcessHandle> {
    let descriptor = socket.as_raw_fd();
    let handoff = Variable::with_pid(VARIABLE, format!("{descriptor}:"), format!(":{nonce}"));
    let variables: Vec<_> = [handoff].into_iter().chain(ACTIVATION.map(Variable::unset)).collect();
    let mut image = Image::new(command, &variables)?;
    let mut starter = starter(command);
    // SAFETY: between fork and exec only async-signal-safe calls are made and nothing is allocated:
    // getpid(2), fcntl(2) and execvpe(3), as std itself calls execvp(3); the memory they use was
    // laid out before the fork.
    unsafe {
        starter.pre_exec(move || {
            // SAFETY: `descriptor` is open: the caller holds it until `spawn` returns, and the child has a
            // copy.
            let socket = BorrowedFd::borrow_raw(descriptor);
            fcntl_setfd(socket, FdFlags::empty())?;
            Err(image.exec())
        });
    }
    ProcessHandle::from_child(starter.spawn()?)
}

/// Starts `command` with `descriptors` under the numbers 3, 4, 5 and so on, in a process group of
/// its own. Blocks as above. The caller must reap the child.
///
/// No other thread may open or close descriptors meanwhile, because the numbers that the child
/// needs are kept free of those that std opens.
pub(crate) fn spawn_with_numbered(
    command: &StartCommand,
    variables: &[Variable],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<ProcessHandle> {
    let mut image = Image::new(command, variables)?;
    let mut numbers = Numbers::of(descriptors);
    let mut starter = starter(command);
    starter.process_group(0);
    // SAFETY: as above, with fcntl(2) and dup2(2).
    unsafe {
        starter.pre_exec(move || {
            numbers.give()?;
            Err(image.exec())
        });
    }
    let occupied = Numbers::occupy(descriptors)?;
    let child = starter.spawn()?;
    drop(occupied);
    ProcessHandle::from_child(child)
}

fn starter(command: &StartCommand) -> Command {
    let mut starter = Command::new(command.program());
    if let Some(directory) = command.directory() {
        starter.current_dir(directory);
    }
    starter
}

/// A variable in the environment of the new program, in place of one with this name that this
/// process has.
pub(crate) struct Variable {
    name: &'static str,
    value: Option<Value>,
}

enum Value {
    Text(OsString),
    /// The pid of the new program goes in between.
    Pid {
        before: String,
        after: String,
    },
}

impl Variable {
    pub(crate) fn new(name: &'static str, value: impl Into<OsString>) -> Self {
        Self { name, value: Some(Value::Text(value.into())) }
    }

    /// With the new program's own pid between these.
    ///
    /// It is valid only for the process with that pid; a descendant that inherits the variable can
    /// detect that.
    pub(crate) fn with_pid(name: &'static str, before: impl Into<String>, after: impl Into<String>) -> Self {
        Self { name, value: Some(Value::Pid { before: before.into(), after: after.into() }) }
    }

    /// The variable is removed from the environment of the new program.
    pub(crate) const fn unset(name: &'static str) -> Self {
        Self { name, value: None }
    }
}

/// A program, its arguments and its environment, laid out for `exec`.
///
/// std has no way to put the child's own pid into its environment, and it is unknown before the
/// fork: so the variables are laid out with room for the digits, they are filled in after the fork,
/// and `exec` is called here.
struct Image {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    personal: Vec<Personal>,
    /// Room for the pointers that `exec` takes, each list ended by a null pointer.
    argument_pointers: Vec<*const libc::c_char>,
    environment_pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers lead nowhere until `exec` fills them in from what the value itself owns.
unsafe impl Send for Image {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for Image {}

impl Image {
    fn new(command: &StartCommand, variables: &[Variable]) -> io::Result<Self> {
        let mut environment = std::env::vars_os()
            .filter(|(name, _)| variables.iter().all(|variable| variable.name != name))
            .map(|(name, value)| terminated([name.as_os_str(), OsStr::new("="), &value]))
            .collect::<io::Result<Vec<_>>>()?;
        let mut personal = Vec::new();
        for Variable { name, value } in variables {
            match value {
                Some(Value::Text(value)) => {
                    environment.push(terminated([OsStr::new(name), OsStr::new("="), value])?);
                }
                Some(Value::Pid { before, after }) => personal.push(Personal::new(name, before, after)?),
                None => {}
            }
        }
        let arguments = command
            .arguments()
            .iter()
            .map(|argument| terminated([argument.as_os_str()]))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            program: terminated([command.program()])?,
            argument_pointers: vec![ptr::null(); arguments.len() + 1],
            environment_pointers: vec![ptr::null(); environment.len() + personal.len() + 1],
            arguments,
            environment,
            personal,
        })
    }

    /// Executes the new program; returns only if that failed. Does not allocate.
    fn exec(&mut self) -> io::Error {
        let pid = std::process::id();
        for variable in &mut self.personal {
            variable.fill_in(pid);
        }
        for (pointer, argument) in self.argument_pointers.iter_mut().zip(&self.arguments) {
            *pointer = argument.as_ptr();
        }
        let shared = self.environment.iter().map(|variable| variable.as_ptr());
        let personal = self.personal.iter().map(|variable| variable.text.as_ptr().cast());
        for (pointer, variable) in self.environment_pointers.iter_mut().zip(shared.chain(personal)) {
            *pointer = variable;
        }
        // SAFETY: every pointer leads to a string with a terminating zero that `self` owns, and both lists
        // end with the null pointer they were made with.
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

/// A variable that the child's own pid is written into.
struct Personal {
    /// Up to the pid, then room for it and for what follows, then a zero at least.
    text: Vec<u8>,
    /// Where the pid begins.
    pid: usize,
    after: Vec<u8>,
}

impl Personal {
    /// Digits of a pid; Linux has at most seven.
    const DIGITS: usize = 10;

    fn new(name: &str, before: &str, after: &str) -> io::Result<Self> {
        // No caller passes a zero byte, which would terminate the variable early.
        let before = terminated([name, "=", before].map(OsStr::new))?.into_bytes();
        let after = terminated([OsStr::new(after)])?.into_bytes();
        let pid = before.len();
        let mut text = before;
        text.resize(pid + Self::DIGITS + after.len() + 1, 0);
        Ok(Self { text, pid, after })
    }

    /// Allocates nothing.
    fn fill_in(&mut self, pid: u32) {
        // Without leading zeros, which some take for the sign of an octal number.
        let mut digits = [0; Self::DIGITS];
        let mut first = Self::DIGITS;
        let mut rest = pid;
        loop {
            first -= 1;
            // The remainder is below ten.
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let room = &mut self.text[self.pid..];
        let tail = digits[first..].iter().chain(&self.after);
        for (place, byte) in room.iter_mut().zip(tail) {
            *place = *byte;
        }
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

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn filled_in(pid: u32) -> String {
        let mut variable = Personal::new("NAME", "9:", ":ab").unwrap();
        variable.fill_in(pid);
        CStr::from_bytes_until_nul(&variable.text).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_pid_is_written_without_leading_zeros() {
        assert_eq!(filled_in(1), "NAME=9:1:ab");
        assert_eq!(filled_in(4_194_304), "NAME=9:4194304:ab");
        assert_eq!(filled_in(u32::MAX), "NAME=9:4294967295:ab");
    }

    #[test]
    fn a_text_with_a_zero_byte_is_an_error() {
        assert!(Personal::new("NAME", "a\0", "").is_err());
        assert!(Image::new(&StartCommand::new("a\0b", [""; 0]), &[]).is_err());
    }
}
