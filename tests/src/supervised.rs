//! A supervisor and the server below it, perhaps in a pid namespace of their own, where the supervisor is PID 1.

use std::{ffi::OsString, fs, path::Path};

use super::{
    Echo, Exit, Log, Place, Process, Target,
    log::{field, is_serving},
    program::program,
    running::{Family, Running},
    script::copy_program,
    until,
};
use rustix::process::Signal;

/// See the module. Dropped, all of it is killed; the log is printed if the test has failed.
pub struct Supervised {
    /// The one that must stay.
    supervisor: Process,
    /// What made the namespace, if there is one, and waits for its end.
    outside: Option<Process>,
    family: Family,
    echo: Echo,
}

/// What the supervisor is to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// A process like any other.
    Process,
    /// PID 1 of a namespace of its own. That takes root.
    FirstProcess,
}

impl Supervised {
    /// The echo server.
    pub async fn echo(how: As, echo: Echo) -> Self {
        let options = [OsString::from("--supervise")].into_iter().chain(echo.all_arguments()).collect();
        Self::start(how, &echo.program.clone(), options, echo).await
    }

    /// The server of `tests/programs/hand_made.rs`.
    pub async fn hand_made(how: As, mode: &str) -> Self {
        Self::hand_made_at(how, &program("hand_made"), mode, Echo::bare()).await
    }

    /// The same as a program in the place of the test, where it can be moved away.
    pub async fn copied(mode: &str) -> Self {
        let echo = Echo::bare();
        let path = echo.place.path("program");
        copy_program(&program("hand_made"), &path);
        Self::hand_made_at(As::Process, &path, mode, echo).await
    }

    async fn hand_made_at(how: As, program: &Path, mode: &str, echo: Echo) -> Self {
        let Target::Tcp { to, .. } = echo.target else { unreachable!("a bare one is plain TCP") };
        let options = ["--supervise".into(), mode.into(), to.to_string().into()].to_vec();
        Self::start(how, program, options, echo).await
    }

    async fn start(how: As, program: &Path, options: Vec<OsString>, echo: Echo) -> Self {
        if how == As::Process {
            let Running { process, family } = echo.run_program(program, &options);
            return Self { supervisor: process, outside: None, family, echo };
        }
        let unshare = ["--pid", "--fork", "--mount-proc", "--kill-child=KILL", "--"].map(OsString::from);
        let line = [program.into()].into_iter().chain(options);
        let line: Vec<_> = unshare.into_iter().chain(line).collect();
        let Running { process, family } = echo.run_program(Path::new("unshare"), &line);
        let first = until("the namespace has a first process", async || match *process.children() {
            [child] if in_namespace(child) == Some(1) => Ok(child),
            _ if process.is_over() => {
                panic!("`unshare` cannot make a pid namespace; is this root? It said: {}", family.log.text())
            }
            ref others => Err(others.to_vec()),
        })
        .await;
        let (supervisor, outside) = (Process::new(first), Some(process));
        Self { supervisor, outside, family, echo }
    }

    pub const fn supervisor(&self) -> &Process {
        &self.supervisor
    }

    pub const fn target(&self) -> &Target {
        &self.echo.target
    }

    pub const fn log(&self) -> &Log {
        &self.family.log
    }

    pub fn place(&self) -> &Place {
        self.echo.place()
    }

    pub fn pid_file(&self) -> &Path {
        &self.echo.pid_file
    }

    /// Waits until this generation has said that it serves, in the log from `start` on, and until the supervisor has
    /// heard it; the process is the one that the pid file names.
    pub async fn serving(&self, start: usize, generation: u64) -> Process {
        let what = format!("serving generation={generation}");
        self.family.log.wait_from(start, &what, |line| is_serving(line, generation)).await;
        let heard =
            |line: &str| line.contains("event_loop: ready") || line.contains("another process serves");
        self.family.log.wait_from(start, "that the supervisor has heard it", heard).await;
        // Both are kept from the first time on: that of the clients, and that of the admin.
        until("the supervisor keeps the sockets", async || {
            let kept = self.family.log.count_from(0, |line| line.contains("a descriptor is kept"));
            if kept >= 2 { Ok(()) } else { Err(kept) }
        })
        .await;
        let text = fs::read_to_string(self.pid_file()).expect("the pid file is there");
        let named = text.trim().parse().expect("a pid");
        let pid = self.processes().into_iter().find(|pid| in_namespace(*pid) == Some(named));
        Process::new(pid.unwrap_or_else(|| panic!("the pid file names process {named}, which is not there")))
    }

    /// `USR1` to the supervisor, and the next generation.
    pub async fn restart(&self, generation: u64) -> Process {
        let start = self.family.log.len();
        self.supervisor.signal(Signal::USR1);
        self.serving(start, generation).await
    }

    /// Waits until the probation of this generation is over: a restart begins only then.
    pub async fn settled(&self, generation: u64) {
        let settled = |line: &str| {
            line.contains("settled")
                && field(line, "generation").is_some_and(|value| value == generation.to_string())
        };
        self.family.log.wait_from(0, &format!("settled generation={generation}"), settled).await;
    }

    /// The pids of all processes there are, but for the one that made the namespace.
    pub fn processes(&self) -> Vec<u32> {
        let outside = self.outside.as_ref().map(Process::pid);
        self.family.pids().into_iter().filter(|pid| Some(*pid) != outside).collect()
    }

    /// Waits until there are only the supervisor and this one.
    pub async fn only(&self, serving: &Process) {
        until("earlier generations are gone", async || {
            let mut processes = self.processes();
            processes.sort_unstable();
            let mut expected = [self.supervisor.pid(), serving.pid()];
            expected.sort_unstable();
            if processes == expected { Ok(()) } else { Err(processes) }
        })
        .await;
    }

    /// Waits for the end of the supervisor.
    pub async fn ended(&self) -> Exit {
        let exit = self.supervisor.ended().await;
        match &self.outside {
            // It was the parent, and hands the exit code on.
            Some(outside) => outside.ended().await,
            None => exit,
        }
    }
}

/// The number that a process has in the innermost of its pid namespaces (proc_pid_status(5)).
fn in_namespace(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
}
