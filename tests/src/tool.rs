//! Programs of others that talk to the server, as their users start them.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

use super::{DEADLINE, Server, certificates::SERVER_NAME};

/// A tool that is talked to. Dropped, it is killed.
pub struct Tool {
    pub child: Child,
    out: BufReader<ChildStdout>,
}

impl Tool {
    pub fn start<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{program}: {error}"));
        let out = BufReader::new(child.stdout.take().expect("open"));
        Self { child, out }
    }

    /// Sends a line; returns the next one that comes.
    pub fn exchange(&mut self, line: &str) -> String {
        self.send(line);
        let mut answer = String::new();
        self.out.read_line(&mut answer).expect("text");
        answer
    }

    /// Sends a line that is echoed; returns all that the tool says until the echo.
    pub fn exchange_among_others(&mut self, line: &str) -> String {
        self.send(line);
        let mut said = String::new();
        while !said.lines().any(|said| said == line) {
            assert_ne!(self.out.read_line(&mut said).expect("text"), 0, "no {line:?} in: {said}");
        }
        said
    }

    fn send(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().expect("open"), "{line}").expect("the tool reads");
    }

    /// All that it still says on standard output.
    pub fn rest(mut self) -> String {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("text");
        rest
    }

    /// Closes its input, and returns what it said on standard error by its end.
    pub fn finish(mut self) -> (bool, String) {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.child.stderr.take().expect("open").read_to_string(&mut said).expect("text");
        (self.child.wait().expect("it ends").success(), said)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Where it is over already there is nothing to do.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Runs a tool to its end, off the runtime that the server's log is read on.
pub async fn run(program: &'static str, arguments: &[&str]) -> Output {
    run_for(DEADLINE, program, arguments).await
}

/// As [`run`], for one that takes its time.
pub async fn run_for(deadline: Duration, program: &'static str, arguments: &[&str]) -> Output {
    // Killed when the deadline drops it.
    let running = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(deadline, running).await;
    ended
        .unwrap_or_else(|_| panic!("{program} takes longer than {deadline:?}"))
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// What it said on standard output.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The path of a file with the CA of the server.
pub fn ca_file(server: &Server) -> String {
    let path = server.place().path("ca.crt");
    std::fs::write(&path, server.authority().pem()).expect("a file of ours");
    path.into_os_string().into_string().expect("a path of ours")
}

/// The arguments of an `openssl s_client` that trusts the server.
pub fn s_client(server: &Server, more: &[&str]) -> Vec<String> {
    let address = server.place().address(6789).to_string();
    ["s_client", "-verify_return_error", "-servername", SERVER_NAME, "-verify_hostname", SERVER_NAME]
        .into_iter()
        .chain(["-connect", &address, "-CAfile", &ca_file(server)])
        .chain(more.iter().copied())
        .map(Into::into)
        .collect()
}
