//! One process, and what the kernel says of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Mutex,
};

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, pidfd_open,
    pidfd_send_signal, prlimit, waitid,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{descendants, until, within};

/// A process, held by a descriptor: its pid cannot become another's unnoticed.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    handle: AsyncFd<OwnedFd>,
    exit: Mutex<Option<Exit>>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// Its parent, which is not this process, knows.
    Unknown,
}

/// `O_CLOEXEC`, as `/proc/PID/fdinfo` shows it.
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

impl Process {
    pub fn new(pid: u32) -> Self {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
        let handle = pidfd_open(process, PidfdFlags::empty())
            .unwrap_or_else(|error| panic!("process {pid} should be there: {error}"));
        // SAFETY: the descriptor is owned by what is registered, which never gives it away: it is open, and the
        // same, for as long as the registration lasts.
        let handle = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) };
        let handle = handle.expect("a pidfd can be polled");
        Self { pid, handle, exit: Mutex::new(None) }
    }

    pub const fn pid(&self) -> u32 {
        self.pid
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        pidfd_send_signal(self.handle.get_ref(), signal)
            .unwrap_or_else(|error| panic!("process {} cannot be sent {signal:?}: {error}", self.pid));
    }

    /// Stops it, and waits until no thread of it runs any more.
    pub async fn stop(&self) {
        self.signal(Signal::STOP);
        until(&format!("process {} has stopped", self.pid), async || {
            let threads = fs::read_dir(self.proc("task")).expect("the process is there").flatten();
            let states: Vec<_> = threads.map(|thread| state_in(&thread.path().join("stat"))).collect();
            if states.iter().all(|state| *state == Some('T')) { Ok(()) } else { Err(states) }
        })
        .await;
    }

    /// Waits for its end, up to the deadline.
    pub async fn ended(&self) -> Exit {
        within(&format!("the end of process {}", self.pid), self.end()).await
    }

    /// Waits for its end.
    pub async fn end(&self) -> Exit {
        // A pidfd is readable once the process is over (pidfd_open(2)).
        _ = self.handle.readable().await.expect("a pidfd can be polled");
        let mut exit = self.exit.lock().expect("no panic while it is held");
        *exit.get_or_insert_with(|| {
            let id = WaitId::PidFd(self.handle.get_ref().as_fd());
            match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (_, Some(signal)) => Exit::Signal(signal),
                    _ => Exit::Unknown,
                },
                _ => Exit::Unknown,
            }
        })
    }

    /// Whether it is over by now.
    pub fn is_over(&self) -> bool {
        let info = format!("/proc/self/fdinfo/{}", self.handle.get_ref().as_raw_fd());
        let info = fs::read_to_string(info).expect("our own descriptor");
        // -1 once the process was waited for; a zombie still has its pid.
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
        pid.is_some_and(|pid| pid.trim() == "-1") || matches!(state(self.pid), Some('Z' | 'X') | None)
    }

    /// Whether it stands still, by SIGSTOP.
    pub fn is_stopped(&self) -> bool {
        state(self.pid) == Some('T')
    }

    /// Its children that have not been waited for, zombies too.
    pub fn children(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").expect("/proc");
        processes
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| stat(*pid).is_some_and(|stat| stat[1].parse() == Ok(self.pid)))
            .collect()
    }

    /// Waits until it has one child, and gives that one's pid.
    pub async fn only_child(&self) -> u32 {
        until(&format!("process {} has a child", self.pid), async || match *self.children() {
            [child] => Ok(child),
            ref others => Err(others.to_vec()),
        })
        .await
    }

    /// Waits until no child is left, not even a zombie.
    pub async fn no_child_left(&self) {
        until(&format!("process {} has no child", self.pid), async || {
            let children: Vec<_> = self.children().into_iter().map(|pid| (pid, state(pid))).collect();
            if children.is_empty() { Ok(()) } else { Err(children) }
        })
        .await;
    }

    /// Its descriptors, and what each is: a path, `socket:[inode]`, `anon_inode:[eventpoll]`.
    pub fn descriptors(&self) -> BTreeMap<u32, PathBuf> {
        let entries = fs::read_dir(self.proc("fd")).expect("the process is there");
        entries
            .flatten()
            .filter_map(|entry| {
                let number = entry.file_name().to_str()?.parse().ok()?;
                // One that was closed since the directory was read leads nowhere.
                Some((number, fs::read_link(entry.path()).ok()?))
            })
            .collect()
    }

    /// Its sockets.
    pub fn sockets(&self) -> BTreeSet<PathBuf> {
        let socket = |path: &PathBuf| path.to_string_lossy().starts_with("socket:");
        self.descriptors().into_values().filter(socket).collect()
    }

    /// Whether a descriptor of it is closed on `exec`; `None` if it is closed by now.
    pub fn is_close_on_exec(&self, descriptor: u32) -> Option<bool> {
        let info = fs::read_to_string(self.proc("fdinfo").join(descriptor.to_string())).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        Some(u32::from_str_radix(flags.trim(), 8).ok()? & CLOSE_ON_EXEC != 0)
    }

    /// What whoever runs this test has left open, and every process from here on inherits. None of it is the server's.
    pub fn left_open() -> BTreeMap<u32, PathBuf> {
        let this = Self::new(std::process::id());
        let mut descriptors = this.descriptors();
        descriptors.retain(|descriptor, _| this.is_close_on_exec(*descriptor) == Some(false));
        descriptors
    }

    /// A child that it had now would inherit the standard descriptors alone.
    #[track_caller]
    pub fn assert_nothing_inheritable(&self) {
        let left_open = Self::left_open();
        for (descriptor, what) in self.descriptors() {
            if descriptor > 2 && left_open.get(&descriptor) != Some(&what) {
                // `None`: it was closed since.
                let closed = self.is_close_on_exec(descriptor).unwrap_or(true);
                assert!(closed, "descriptor {descriptor} ({}) would be inherited", what.display());
            }
        }
    }

    /// The program that it runs.
    pub fn program(&self) -> PathBuf {
        fs::read_link(self.proc("exe")).expect("the process is there")
    }

    /// Its arguments, each with its terminating zero.
    pub fn command_line(&self) -> Vec<u8> {
        fs::read(self.proc("cmdline")).expect("the process is there")
    }

    pub fn directory(&self) -> PathBuf {
        fs::read_link(self.proc("cwd")).expect("the process is there")
    }

    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        descendants::environment(self.pid)
    }

    /// The memory that it has in RAM, in bytes.
    pub fn memory(&self) -> usize {
        // Kilobytes, proc_pid_status(5).
        let status = fs::read_to_string(self.proc("status")).expect("the process is there");
        let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        1024 * size.and_then(|size| size.trim().parse::<usize>().ok()).expect("a size")
    }

    /// Lets it open so many descriptors more than it has now; `None`: as many as we may.
    pub fn limit_descriptors(&self, more: Option<usize>) {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let current = more.map_or(current, |more| {
            let used = self.descriptors();
            // The lowest free number is always taken first.
            let mut free = (0..).filter(|number| !used.contains_key(number));
            free.nth(more).map(u64::from)
        });
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("a pid");
        // Only the soft limit: the hard one, which it has from us, stays as it is.
        prlimit(Some(pid), Resource::Nofile, Rlimit { current, maximum }).expect("our own process");
    }

    /// Lets it write files of so many bytes at most (`RLIMIT_FSIZE`), and its children; `None`: as we may.
    pub fn limit_file_size(&self, bytes: Option<u64>) {
        let Rlimit { current, maximum } = getrlimit(Resource::Fsize);
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("a pid");
        // Only the soft limit, as above.
        let limit = Rlimit { current: bytes.or(current), maximum };
        prlimit(Some(pid), Resource::Fsize, limit).expect("our own process");
    }

    pub fn threads(&self) -> usize {
        fs::read_dir(self.proc("task")).expect("the process is there").count()
    }

    /// The processor time it has used, in seconds, in user and kernel mode.
    pub fn processor_seconds(&self) -> f64 {
        // Fields 14 and 15 of proc_pid_stat(5), here without the first two.
        let stat = stat(self.pid).expect("the process is there");
        let ticks: u64 = stat[11..=12].iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        let a_second =
            nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().expect("a constant");
        ticks as f64 / a_second as f64
    }

    /// The port that it listens on at every address, from one of the kernel's tables: `tcp` or `tcp6`.
    pub fn port_at_every_address(&self, table: &str) -> Option<u16> {
        let sockets = self.sockets();
        let table = fs::read_to_string(self.proc("net").join(table)).ok()?;
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let ours = sockets.contains(Path::new(&format!("socket:[{}]", fields.get(9)?)));
            let (host, port) = fields.get(1)?.rsplit_once(':')?;
            let every = host.bytes().all(|digit| digit == b'0');
            // 0A is TCP_LISTEN.
            let listens = *fields.get(3)? == "0A";
            (ours && every && listens).then(|| u16::from_str_radix(port, 16).ok())?
        })
    }

    fn proc(&self, entry: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join(entry)
    }
}

/// The letter of proc_pid_stat(5).
fn state(pid: u32) -> Option<char> {
    state_in(Path::new(&format!("/proc/{pid}/stat")))
}

fn state_in(stat: &Path) -> Option<char> {
    fields(stat)?.first()?.chars().next()
}

/// The fields of `/proc/PID/stat` from the third on: the second is a name with anything in it.
fn stat(pid: u32) -> Option<Vec<String>> {
    fields(Path::new(&format!("/proc/{pid}/stat")))
}

fn fields(stat: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(stat).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}
