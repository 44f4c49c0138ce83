//! Descriptors that a program is started with, as a service manager passes them: from number 3 on, and `LISTEN_PID` is the
//! program's own.

use std::{
    ffi::{OsStr, OsString},
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    process::Command,
    sync::Arc,
};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// Where copies are put, out of the way of the numbers that they shall have.
const ASIDE: i32 = 100;

/// A command that has these descriptors, and what must be kept until it is started. Children that are started meanwhile
/// would have them, too.
pub(crate) fn command(
    program: &Path,
    arguments: &[OsString],
    passed: &[(String, Arc<OwnedFd>)],
) -> (Command, Vec<OwnedFd>) {
    if passed.is_empty() {
        let mut command = Command::new(program);
        command.args(arguments);
        return (command, Vec::new());
    }
    let copies: Vec<OwnedFd> = passed
        .iter()
        .map(|(_, descriptor)| {
            let copy = fcntl_dupfd_cloexec(descriptor, ASIDE).expect("room for a descriptor");
            fcntl_setfd(&copy, FdFlags::empty()).expect("a descriptor of ours");
            copy
        })
        .collect();
    let moves = copies.iter().zip(3..).map(|(copy, number)| format!("{number}<&{}-", copy.as_raw_fd()));
    let script = format!("exec {}; export LISTEN_PID=$$; exec \"$@\"", moves.collect::<Vec<_>>().join(" "));
    // Its numbers may have several digits, which a plain sh does not know.
    let mut command = Command::new("bash");
    command.args([OsStr::new("-c"), script.as_ref(), "bash".as_ref(), program.as_ref()]).args(arguments);
    let names: Vec<_> = passed.iter().map(|(name, _)| &**name).collect();
    command.env("LISTEN_FDS", passed.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    (command, copies)
}
