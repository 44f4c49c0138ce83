//! Which processes descend from this one, as proc(5) shows it.

use std::{fs, io};

use crate::sys;

/// More generations than any process has ancestors; only a loop of numbers that are given anew is longer.
const DEEPEST: usize = 1000;
/// A process whose parent ends is given another, so the way up may break while it is followed.
const ATTEMPTS: usize = 10;

/// Whether there is a `/proc` to ask, which has the numbers that the kernel tells this process.
pub(super) fn check() -> io::Result<()> {
    let own = fs::read_link("/proc/self")?;
    if own.to_str() == Some(&*std::process::id().to_string()) {
        return Ok(());
    }
    Err(io::Error::other("it was mounted in another PID namespace"))
}

/// Whether the process descends from this one.
pub(super) fn is_ours(pid: u32) -> bool {
    descends(pid, std::process::id())
}

/// Whether the process descends from another.
pub(super) fn descends(pid: u32, from: u32) -> bool {
    (0..ATTEMPTS).find_map(|_| climb(pid, from)).unwrap_or(false)
}

/// `None` if one on the way up ended meanwhile.
fn climb(mut pid: u32, from: u32) -> Option<bool> {
    for _ in 0..DEEPEST {
        pid = parent(pid)?;
        if pid == from {
            return Some(true);
        }
        // The first process, and one that was put into this pid namespace from outside (`docker exec`), has none.
        if pid == 0 {
            return Some(false);
        }
    }
    Some(false)
}

/// Field 4 of proc_pid_stat(5); the second is a name with anything in it.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    std::str::from_utf8(&stat[end + 1..]).ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// Our children that were started as a successor, in a restart that their predecessor did not live to finish.
pub(super) fn orphaned_successors() -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let own = Some(std::process::id());
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| parent(*pid) == own && is_successor(*pid))
        .collect()
}

/// Whether its handoff variable is meant for it, and not inherited from a parent.
fn is_successor(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| sys::is_successor(&environment, pid))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn descendants_are_ours_and_others_are_not() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(is_ours(child.id()));
        assert!(!is_ours(1), "the first process is not");
        assert!(!is_ours(std::process::id()), "nor are we our own");
        assert!(!is_ours(u32::MAX), "nor is one that is not there");
        assert!(!is_successor(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
