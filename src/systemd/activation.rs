//! Sockets that the service manager passes to a first generation: `sd_listen_fds(3)`.
//!
//! They are of a `.socket` unit, or they come back from the descriptor store after the service has ended in whatever
//! way. Each is checked before it is believed, and one that comes twice is kept once.

#[cfg(feature = "supervisor")]
use std::os::fd::AsFd;
use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileTypeExt,
    },
};

use portcullis_layers::LocalAddress;
use rustix::fs::fstat;

use super::{names, names_this_process};
use crate::{
    bind::{ActivatedSocket, DescriptorError, DescriptorProblem, ListeningSocket, PassedBy, UnixPath},
    sys::take_activated,
};

/// What the manager passed to this process; every descriptor of it is ours from now on.
pub(crate) fn activated() -> Vec<ActivatedSocket> {
    let Some(names) = announced(|name| std::env::var_os(name)) else { return Vec::new() };
    // As many as there are names, and their number was read as u16.
    let count = u16::try_from(names.len()).unwrap_or(u16::MAX);
    let mut passed = Vec::with_capacity(names.len());
    for (name, descriptor) in names.into_iter().zip(take_activated(count)) {
        match descriptor {
            Some(descriptor) => passed.push((name, descriptor)),
            None => tracing::warn!(name, "the service manager announced a descriptor that is not there"),
        }
    }
    // Those of .socket units first: of two that are the same socket, theirs says whose the path is.
    passed.sort_by_key(|(name, _)| names::listener(name).is_some());
    let mut seen = HashSet::new();
    passed.retain(|(name, descriptor)| {
        let first = seen.insert(identity(descriptor));
        if !first {
            tracing::debug!(name, "the service manager passed the same socket twice: one copy is closed");
        }
        first
    });
    passed.into_iter().filter_map(|(name, descriptor)| check(&name, descriptor)).collect()
}

/// The names of the descriptors that are passed to this process, from number 3 on.
fn announced(variable: impl Fn(&str) -> Option<OsString>) -> Option<Vec<String>> {
    /// What the manager calls a descriptor without a name.
    const UNNAMED: &str = "unknown";

    let count = variable("LISTEN_FDS")?;
    // Meant for a process that started this one, or that it is a child of. Absent, it is meant for nobody.
    let pid = variable("LISTEN_PID")?;
    if !names_this_process(Some(&pid)) {
        tracing::debug!(?pid, "LISTEN_FDS is meant for another process");
        return None;
    }
    let Some(count) = count.to_str().and_then(|count| count.parse::<u16>().ok()) else {
        tracing::warn!(value = ?count, "LISTEN_FDS is not a number of descriptors: none is taken");
        return None;
    };
    let unnamed = vec![UNNAMED.to_owned(); count.into()];
    let Some(names) = variable("LISTEN_FDNAMES") else { return Some(unnamed) };
    let names: Vec<String> = names.to_string_lossy().split(':').map(str::to_owned).collect();
    if names.len() == unnamed.len() {
        return Some(names);
    }
    tracing::warn!(
        count,
        ?names,
        "LISTEN_FDNAMES does not name every descriptor of LISTEN_FDS: no name is used"
    );
    Some(unnamed)
}

/// What tells two sockets apart: descriptors of one socket have the same inode.
fn identity(descriptor: &OwnedFd) -> (u64, u64) {
    // An open descriptor can be looked at; should it not, it is one of a kind.
    fstat(descriptor)
        .map_or((0, descriptor.as_raw_fd().unsigned_abs().into()), |stat| (stat.st_dev, stat.st_ino))
}

/// Looks at what was passed. `None`: it is of no use to anybody, and closed.
fn check(name: &str, descriptor: OwnedFd) -> Option<ActivatedSocket> {
    let listener = names::listener(name);
    let whose = if listener.is_some() { UnixPath::come_back } else { UnixPath::of_another };
    let socket = ListeningSocket::found(descriptor, whose).map_err(|problem| of_the_manager(name, problem));
    if let Ok(socket) = &socket
        && let LocalAddress::Unix(Some(path)) = socket.local_address()
        && !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.file_type().is_socket())
    {
        tracing::warn!(
            name,
            path = %path.display(),
            "the service manager passed a socket whose path is gone, so that nobody could connect: closed"
        );
        return None;
    }
    Some(ActivatedSocket { name: listener.unwrap_or(name).to_owned(), stored: listener.is_some(), socket })
}

fn of_the_manager(name: &str, problem: DescriptorProblem) -> DescriptorError {
    DescriptorError { name: name.to_owned(), passed_by: PassedBy::ServiceManager, problem }
}

/// The descriptor, by the name under which the manager passed it: for a process that passes it on.
/// `None` if it cannot be used.
#[cfg(feature = "supervisor")]
pub(crate) fn into_descriptor(activated: ActivatedSocket) -> Option<(String, OwnedFd)> {
    let ActivatedSocket { name, stored, socket } = activated;
    let descriptor = socket.ok()?.as_fd().try_clone_to_owned().ok()?;
    let name = if stored { names::stored(&name).unwrap_or(name) } else { name };
    Some((name, descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(variables: &[(&str, &str)]) -> Option<Vec<String>> {
        let own = std::process::id().to_string();
        announced(|wanted| {
            let (_, value) = variables.iter().find(|(name, _)| *name == wanted)?;
            Some(value.replace("own", &own).into())
        })
    }

    #[test]
    fn descriptors_are_announced_to_this_process_alone() {
        let passed =
            |pid| names(&[("LISTEN_FDS", "2"), ("LISTEN_PID", pid), ("LISTEN_FDNAMES", "echo:admin")]);
        assert_eq!(passed("own").unwrap(), ["echo", "admin"]);
        for pid in ["1", "", "x", "-own"] {
            assert_eq!(passed(pid), None, "{pid:?}");
        }
        assert_eq!(names(&[("LISTEN_FDS", "2")]), None);
        assert_eq!(names(&[("LISTEN_PID", "own")]), None);
    }

    #[test]
    fn wrong_numbers_are_not_believed_and_names_must_fit() {
        let passed =
            |count, given| names(&[("LISTEN_FDS", count), ("LISTEN_PID", "own"), ("LISTEN_FDNAMES", given)]);
        for count in ["", "-1", "x", "70000"] {
            assert_eq!(passed(count, "echo"), None, "{count:?}");
        }
        assert_eq!(passed("2", "echo").unwrap(), ["unknown", "unknown"]);
        assert_eq!(passed("1", "echo:admin").unwrap(), ["unknown"]);
        assert_eq!(passed("0", "").unwrap(), Vec::<String>::new());
        assert_eq!(names(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "own")]).unwrap(), ["unknown"]);
    }
}
