//! One message to the service manager: lines of `NAME=value`, `sd_notify(3)`.

use std::{fmt, process, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(String);

/// Bytes of a status. The manager takes no datagram of more than 4096 bytes.
const LONGEST_STATUS: usize = 1024;

impl Message {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The service serves; what was begun with [`reloading`](Self::reloading) is over.
    pub(super) fn ready(self) -> Self {
        self.line("READY", 1)
    }

    /// This process is the service's main one.
    pub(super) fn main_pid(self) -> Self {
        self.line("MAINPID", process::id())
    }

    /// A restart begins, now. The manager compares the time with that of its own request (since systemd 253).
    pub(super) fn reloading(self) -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        // This clock is not negative.
        let now = Duration::try_from(now).unwrap_or_default();
        self.line("RELOADING", 1).line("MONOTONIC_USEC", now.as_micros())
    }

    pub(super) fn stopping(self) -> Self {
        self.line("STOPPING", 1)
    }

    /// The manager shall wait for so long, even if that is longer than it is configured to.
    pub(super) fn extend_timeout(self, limit: Duration) -> Self {
        self.line("EXTEND_TIMEOUT_USEC", limit.as_micros())
    }

    pub(super) fn watchdog(self) -> Self {
        self.line("WATCHDOG", 1)
    }

    /// What an operator reads in `systemctl status`.
    pub(super) fn status(self, text: impl fmt::Display) -> Self {
        let text = text.to_string();
        let whole = |end: &usize| text.is_char_boundary(*end);
        let end = (0..=LONGEST_STATUS.min(text.len())).rev().find(whole).unwrap_or_default();
        self.line("STATUS", text[..end].replace(char::is_control, " "))
    }

    /// Keep the descriptor that comes with this, and do not watch it: it goes when we say so, and not at an error of the socket.
    pub(super) fn store(self, name: &str) -> Self {
        self.line("FDSTORE", 1).line("FDNAME", name).line("FDPOLL", 0)
    }

    /// Close every kept descriptor of this name.
    pub(super) fn forget(self, name: &str) -> Self {
        self.line("FDSTOREREMOVE", 1).line("FDNAME", name)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn line(mut self, name: &str, value: impl fmt::Display) -> Self {
        use fmt::Write;

        // A String takes everything.
        _ = writeln!(self.0, "{name}={value}");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_and_not_too_long() {
        let message = Message::new().status("no such file\nREADY=1\r\u{0}");
        assert_eq!(message.as_bytes(), b"STATUS=no such file READY=1  \n");
        // A character of two bytes lies across the limit.
        let long = format!("x{}", "\u{e9}".repeat(LONGEST_STATUS));
        let message = Message::new().status(long);
        assert!(message.as_bytes().len() <= LONGEST_STATUS + "STATUS=\n".len());
        assert!(std::str::from_utf8(message.as_bytes()).is_ok());
    }
}
