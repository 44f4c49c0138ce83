//! Sees to it that no process outlives its test, of whichever generation it is.
//!
//! Successors are children of the server and not of the test, so they are known by a variable in their environment
//! that only this server's processes have. Three nets, one below the other:
//!
//! - A dropped server kills whoever has its variable ([`kill_all`]); a test that panics drops it, too.
//! - This process is a child subreaper (prctl(2)): generations whose parent is gone become its children, so that it can wait
//!   for them.
//! - Should this process be killed itself, a shell that waits for the end of a pipe kills what is left.

use std::{
    ffi::OsString,
    fs,
    hash::{BuildHasher, RandomState},
    io::PipeWriter,
    os::{fd::OwnedFd, unix::ffi::OsStringExt, unix::process::CommandExt},
    process::{Command, Stdio},
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

/// The variable that marks the processes of tests.
pub const VARIABLE: &str = "PORTCULLIS_TEST";

/// What this program and its end have to do with the processes it starts.
struct Nets {
    /// The beginning of the values of [`VARIABLE`] that are ours.
    prefix: String,
    /// Closed by the end of this process, however it comes.
    _alive: Option<PipeWriter>,
}

static NETS: LazyLock<Nets> = LazyLock::new(|| {
    nix::sys::prctl::set_child_subreaper(true).expect("Linux lets a process be a subreaper");
    let random = RandomState::new().hash_one(std::process::id());
    let prefix = format!("{}-{random:016x}", std::process::id());
    Nets { _alive: guard(&prefix), prefix }
});

/// A value for [`VARIABLE`] that no other server has.
pub(crate) fn mark() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);

    format!("{}-{}", NETS.prefix, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Held while a process is started, and while a program or script is written.
///
/// A process that is forked meanwhile has a copy of the descriptor that is written to, until its `exec`; and a file
/// that somebody has open for writing cannot be executed (ETXTBSY).
pub(crate) fn forking() -> MutexGuard<'static, ()> {
    static FORKING: Mutex<()> = Mutex::new(());

    FORKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the shell that kills our processes when this one is gone. `None` where there is no shell.
fn guard(prefix: &str) -> Option<PipeWriter> {
    let (reader, writer) = std::io::pipe().ok()?;
    let script = format!(
        "read _
        for process in /proc/[0-9]*; do
            if grep -qa '{VARIABLE}={prefix}' $process/environ; then kill -9 ${{process#/proc/}}; fi
        done"
    );
    let _forking = forking();
    Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(reader)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // An interrupt from the terminal must not end it before its time.
        .process_group(0)
        .spawn()
        .ok()?;
    Some(writer)
}

/// The pids of the processes that have this mark.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc");
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| is_marked(*pid, mark))
        .collect()
}

fn is_marked(pid: u32, mark: &str) -> bool {
    // A process that is gone, or another user's, has no environment that we can read.
    environment(pid).iter().any(|(name, value)| name == VARIABLE && value == mark)
}

/// The variables that a process was started with.
pub(crate) fn environment(pid: u32) -> Vec<(OsString, OsString)> {
    let text = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    text.split(|byte| *byte == 0)
        .filter_map(|variable| {
            let equals = variable.iter().position(|byte| *byte == b'=')?;
            let (name, value) = variable.split_at(equals);
            Some((OsString::from_vec(name.to_vec()), OsString::from_vec(value[1..].to_vec())))
        })
        .collect()
}

/// Kills the processes that have this mark, and those that they start meanwhile, and waits for them.
pub(crate) fn kill_all(mark: &str) {
    let mut killed: Vec<OwnedFd> = Vec::new();
    loop {
        let pids = marked(mark);
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
            let Ok(handle) = pidfd_open(process, PidfdFlags::empty()) else { continue };
            // The pid may have become another's since it was found; the handle cannot.
            if is_marked(pid, mark) && pidfd_send_signal(&handle, Signal::KILL).is_ok() {
                killed.push(handle);
            }
        }
        reap(&killed);
    }
    reap(&killed);
}

/// Waits for those that are our children, from the start or because their parent is gone.
fn reap(killed: &[OwnedFd]) {
    use std::os::fd::AsFd;

    for handle in killed {
        // An error: it is reaped already, or its parent does so.
        _ = waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED);
    }
}
