//! Starting a first generation, with the kept sockets (sd_listen_fds(3)).

use std::io;

use super::{process::Process, store::Store};
use crate::sys::{self, ACTIVATION, StartCommand, Variable};

/// Starts `command`, which may report at `notify`. Blocks until the new program runs or `exec` has failed.
pub(super) fn start(command: &StartCommand, store: &Store, notify: &str) -> io::Result<Process> {
    let descriptors = store.descriptors();
    let mut variables = vec![
        Variable::new("NOTIFY_SOCKET", notify),
        Variable::with_pid("SYSTEMD_EXEC_PID", "", ""),
        // Whoever supervises this process has meant it.
        Variable::unset("WATCHDOG_PID"),
        Variable::unset("WATCHDOG_USEC"),
        Variable::unset("LISTEN_PIDFDID"),
    ];
    if descriptors.is_empty() {
        variables.extend(ACTIVATION.map(Variable::unset));
    } else {
        variables.extend([
            Variable::new("LISTEN_FDS", descriptors.len().to_string()),
            Variable::with_pid("LISTEN_PID", "", ""),
            Variable::new("LISTEN_FDNAMES", store.names()),
        ]);
    }
    sys::spawn_with_numbered(command, &variables, &descriptors).map(Process::from)
}
