//! What a datagram of sd_notify(3) says.

/// The assignments that matter to a supervisor. Others, such as `STATUS=` and `BARRIER=1`, need no answer from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notification {
    /// It can serve.
    pub(super) ready: bool,
    /// It has begun to end.
    pub(super) stopping: bool,
    /// The process that serves from now on.
    pub(super) main_pid: Option<u32>,
    /// The descriptors are to be kept.
    pub(super) store: bool,
    /// Those with the name are not to be kept any more.
    pub(super) remove: bool,
    /// What the descriptors are called.
    pub(super) name: Option<String>,
}

/// The longest name of a descriptor, in bytes (sd_pid_notify_with_fds(3)).
const LONGEST_NAME: usize = 255;

impl Notification {
    /// Reads the lines that it knows, and passes over what is none of them.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut notification = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let Some((variable, value)) =
                std::str::from_utf8(line).ok().and_then(|line| line.split_once('='))
            else {
                continue;
            };
            match (variable, value) {
                ("READY", "1") => notification.ready = true,
                ("STOPPING", "1") => notification.stopping = true,
                ("MAINPID", pid) => notification.main_pid = pid.parse().ok(),
                ("FDSTORE", "1") => notification.store = true,
                ("FDSTOREREMOVE", "1") => notification.remove = true,
                ("FDNAME", name) if is_name(name) => notification.name = Some(name.to_owned()),
                _ => {}
            }
        }
        notification
    }
}

/// A colon separates the names in `LISTEN_FDNAMES`.
fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_datagram_are_read() {
        let notification = Notification::parse(b"READY=1\nSTATUS=fine=fine\nMAINPID=42\n");
        assert_eq!(notification, Notification { ready: true, main_pid: Some(42), ..Notification::default() });
        let notification = Notification::parse(b"FDSTORE=1\nFDNAME=echo");
        assert_eq!(
            notification,
            Notification { store: true, name: Some("echo".to_owned()), ..Notification::default() }
        );
        let notification = Notification::parse(b"FDSTOREREMOVE=1\nFDNAME=a name\nSTOPPING=1");
        let name = Some("a name".to_owned());
        assert_eq!(
            notification,
            Notification { remove: true, stopping: true, name, ..Notification::default() }
        );
    }

    #[test]
    fn what_is_no_notification_says_nothing() {
        let long = format!("FDNAME={}", "n".repeat(256));
        let lines: [&[u8]; 12] = [
            b"",
            b"\n\n",
            b"READY",
            b"READY=0",
            b"ready=1",
            b"MAINPID=",
            b"MAINPID=-1",
            b"MAINPID=99999999999",
            b"FDNAME=a:b",
            b"FDNAME=\x07",
            b"\xff\xfe=1",
            long.as_bytes(),
        ];
        for line in lines {
            assert_eq!(Notification::parse(line), Notification::default(), "{}", line.escape_ascii());
        }
    }
}
