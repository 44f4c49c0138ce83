//! A server that runs: a line of processes, and the one of them that serves.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::Signal;

use super::{
    Answer, Authority, Ctl, Echo, Exit, Log, Metrics, Place, Process, Target, Told, ctl, http,
    log::{field, is_serving},
    running::{Family, Running},
    until,
};

/// See the module. Dropped, it is killed, with all its generations; its log is printed if the test has failed.
pub struct Server {
    serving: Process,
    generation: u64,
    /// Where in the log the next generation is looked for.
    start: usize,
    family: Family,
    pid_file: PathBuf,
    target: Target,
    admin: SocketAddr,
    authority: Option<Arc<Authority>>,
    place: Arc<Place>,
}

/// What became of a restart.
#[derive(Debug)]
pub enum Outcome {
    /// The one that served before, and drains.
    Succeeded(Process),
    /// The word of the log and the metric.
    Failed(String),
}

impl Server {
    /// One that has said in its log that it serves.
    pub(crate) async fn new(echo: Echo, running: Running) -> Self {
        Self::taking_over(echo, running, 1).await
    }

    /// One that has said in its log that it serves as this generation.
    pub(crate) async fn taking_over(echo: Echo, running: Running, generation: u64) -> Self {
        let mut server = Self::starting(echo, running);
        server.generation = generation;
        let what = format!("serving generation={generation}");
        server.family.log.wait_from(0, &what, |line| is_serving(line, generation)).await;
        server
    }

    /// One that has said in its log that it serves.
    pub(crate) async fn of_any_generation(echo: Echo, running: Running) -> Self {
        let mut server = Self::starting(echo, running);
        let line =
            server.family.log.wait_from(0, "serving", |line| line.contains("serving generation=")).await;
        server.generation =
            field(&line, "generation").and_then(|number| number.parse().ok()).expect("a number");
        server
    }

    /// One that has said over HTTP that it serves.
    pub(crate) async fn silent(echo: Echo, running: Running) -> Self {
        let server = Self::starting(echo, running);
        until("the admin says that it is ready", async || match http::get(server.admin, "/readyz").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(other),
        })
        .await;
        server
    }

    fn starting(echo: Echo, running: Running) -> Self {
        Self {
            serving: running.process,
            generation: 1,
            start: 0,
            family: running.family,
            admin: echo.admin(),
            pid_file: echo.pid_file,
            target: echo.target,
            authority: echo.authority,
            place: echo.place,
        }
    }

    /// Its control path.
    pub fn control(&self) -> PathBuf {
        ctl::path_in(self.place.directory())
    }

    /// Asks it over its control path, and waits for the end of `ctl`.
    pub async fn ctl(&self, arguments: &[&str]) -> Told {
        Ctl::new(self.control()).ask(arguments).await
    }

    /// Where its clients connect.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process that serves.
    pub const fn serving(&self) -> &Process {
        &self.serving
    }

    /// The number of the generation that serves.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    pub const fn log(&self) -> &Log {
        &self.family.log
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn authority(&self) -> &Authority {
        self.authority.as_ref().expect("only a TLS server has one")
    }

    pub fn pid_file(&self) -> &Path {
        &self.pid_file
    }

    /// The pid that the pid file names.
    #[track_caller]
    pub fn pid_in_file(&self) -> u32 {
        let text = fs::read_to_string(&self.pid_file).expect("the pid file is there");
        text.trim().parse().unwrap_or_else(|_| panic!("the pid file should hold a pid and holds {text:?}"))
    }

    /// Sends `USR1` to the process that serves, and waits for the outcome in the log.
    pub async fn try_restart(&mut self) -> Outcome {
        // The same generation may have served before, and have been rolled back.
        let start = self.family.log.len();
        self.start = start;
        self.serving.signal(Signal::USR1);
        let over = |line: &str| line.contains("restart succeeded") || line.contains("restart failed");
        let line = self.family.log.wait_from(start, "restart succeeded, or failed", over).await;
        if line.contains("restart failed") {
            return Outcome::Failed(field(&line, "result").unwrap_or_default().to_owned());
        }
        Outcome::Succeeded(self.follow().await)
    }

    /// A restart that succeeds. Returns the process that served before.
    pub async fn restart(&mut self) -> Process {
        match self.try_restart().await {
            Outcome::Succeeded(predecessor) => predecessor,
            Outcome::Failed(result) => panic!("the restart should have succeeded; its result is {result:?}"),
        }
    }

    /// A restart that fails, with this result.
    pub async fn fail_to_restart(&mut self, results: &[&str]) {
        match self.try_restart().await {
            Outcome::Failed(result) if results.contains(&&*result) => {}
            outcome => panic!("the restart should have failed, with one of {results:?}: {outcome:?}"),
        }
    }

    /// Waits until the next generation serves. Returns the process that served before.
    pub async fn follow(&mut self) -> Process {
        let next = self.generation + 1;
        self.family
            .log
            .wait_from(self.start, &format!("serving generation={next}"), |line| is_serving(line, next))
            .await;
        self.generation = next;
        let successor = Process::new(self.pid_in_file());
        assert_ne!(successor.pid(), self.serving.pid(), "a new generation is a new process");
        std::mem::replace(&mut self.serving, successor)
    }

    /// Tells the process that serves to end, and waits for it.
    pub async fn terminate(&self) -> Exit {
        self.serving.signal(Signal::TERM);
        self.serving.ended().await
    }

    /// A request to the admin, over a connection of its own.
    pub async fn get(&self, path: &str) -> Answer {
        http::get(self.admin, path).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    pub async fn metrics(&self) -> Metrics {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Metrics::parse(&answer.body)
    }

    /// Waits until the metrics are as they shall be. What they count happens a moment after the client has seen it.
    pub async fn metrics_when(&self, what: &str, wanted: impl Fn(&Metrics) -> bool) -> Metrics {
        until(what, async || {
            let metrics = self.metrics().await;
            // The text of those that count something is what one wants to see if it never comes.
            if wanted(&metrics) { Ok(metrics) } else { Err(metrics.nonzero()) }
        })
        .await
    }

    /// The pids of all generations that there are.
    pub fn processes(&self) -> Vec<u32> {
        self.family.pids()
    }

    /// Waits until the process that serves is the only one left.
    pub async fn alone(&self) {
        until("earlier generations, and whatever else was started, are gone", async || {
            let processes = self.processes();
            if processes == [self.serving.pid()] { Ok(()) } else { Err(processes) }
        })
        .await;
    }
}
