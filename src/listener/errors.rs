//! Classifies the errors of accept(2).

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{Counter, Unit, counter, describe_counter};
use rustix::io::Errno;

/// What to do about a failed accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The connection has failed: accept the next one immediately.
    Connection,
    /// A resource is exhausted or access is denied: retry after a delay.
    Temporary,
    /// The socket has failed permanently, or the runtime shuts down.
    Fatal,
}

/// The label of `accept_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Emfile,
    Enfile,
    Nomem,
    Aborted,
    Other,
}

impl Label {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Emfile, "emfile"),
        (Self::Enfile, "enfile"),
        (Self::Nomem, "nomem"),
        (Self::Aborted, "aborted"),
        (Self::Other, "other"),
    ];
}

/// Counts the failures of one listener, and logs those that are retried at a limited rate.
#[derive(Debug)]
pub(super) struct AcceptErrors {
    listener: Arc<str>,
    counters: [Counter; Label::ALL.len()],
    told: Option<Instant>,
    untold: u64,
}

/// The minimum interval between log lines.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl AcceptErrors {
    pub(super) fn register(prefix: &str, listener: &Arc<str>) -> Self {
        let name = portcullis_layers::metrics::series_name(prefix, "accept_errors_total");
        describe_counter!(name.clone(), Unit::Count, "Failed calls of accept(2), by error");
        let counters = Label::ALL.map(|(_, label)| {
            let counter = counter!(name.clone(), "listener" => listener.to_string(), "error" => label);
            counter.increment(0);
            counter
        });
        Self { listener: listener.clone(), counters, told: None, untold: 0 }
    }

    pub(super) fn count(&mut self, error: &io::Error) -> Class {
        let (class, label) = classify(error);
        self.counters[label as usize].increment(1);
        if class == Class::Temporary {
            self.untold += 1;
            let now = Instant::now();
            if self.told.is_none_or(|told| now - told >= TELL_EVERY) {
                log!(
                    warn,
                    listener = &*self.listener,
                    %error,
                    times = self.untold,
                    "cannot accept: connections wait in the queue"
                );
                (self.told, self.untold) = (Some(now), 0);
            }
        }
        class
    }
}

/// Classifies an error of accept(2), or of the registration of what was accepted with the runtime.
///
/// The manual page lists the network errors that belong to the new connection and are to be taken as
/// if there had been none. Only what says that the descriptor is no listening socket is fatal: all else
/// may pass (a full epoll, the denial of a security module). What is no error of the system is one of
/// the runtime, which shuts down.
fn classify(error: &io::Error) -> (Class, Label) {
    let Some(errno) = Errno::from_io_error(error) else {
        return (Class::Fatal, Label::Other);
    };
    match errno {
        Errno::MFILE => (Class::Temporary, Label::Emfile),
        Errno::NFILE => (Class::Temporary, Label::Enfile),
        Errno::NOBUFS | Errno::NOMEM => (Class::Temporary, Label::Nomem),
        Errno::CONNABORTED => (Class::Connection, Label::Aborted),
        Errno::INTR
        | Errno::PERM
        | Errno::PROTO
        | Errno::NETDOWN
        | Errno::NOPROTOOPT
        | Errno::HOSTDOWN
        | Errno::NONET
        | Errno::HOSTUNREACH
        | Errno::OPNOTSUPP
        | Errno::NETUNREACH
        | Errno::CONNRESET
        | Errno::TIMEDOUT => (Class::Connection, Label::Other),
        Errno::BADF | Errno::INVAL | Errno::NOTSOCK => (Class::Fatal, Label::Other),
        _ => (Class::Temporary, Label::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(errno: Errno) -> Class {
        classify(&io::Error::from(errno)).0
    }

    #[test]
    fn what_may_pass_is_waited_for_and_a_lost_connection_is_not() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::NOSPC, Errno::ACCESS] {
            assert_eq!(class(errno), Class::Temporary, "{errno}");
        }
        for errno in [Errno::CONNABORTED, Errno::PERM, Errno::HOSTUNREACH] {
            assert_eq!(class(errno), Class::Connection, "{errno}");
        }
        for errno in [Errno::BADF, Errno::INVAL, Errno::NOTSOCK] {
            assert_eq!(class(errno), Class::Fatal, "{errno}");
        }
        let shutdown = io::Error::other("the runtime is being shut down");
        assert_eq!(classify(&shutdown).0, Class::Fatal);
    }
}
