//! How the echo server is started: its options, and where it lives.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use super::{
    Authority, Ended, Faults, Place, Process, Server, StartScript, Target,
    certificates::{IdentityFiles, Versions},
    ctl, descendants, passing,
    program::program,
    running::{Family, Running},
};

/// An echo server that is not started yet. One that was started can be started again, if it is cloned before.
#[derive(Clone)]
pub struct Echo {
    pub(crate) place: Arc<Place>,
    pub(crate) authority: Option<Arc<Authority>>,
    pub(crate) pid_file: PathBuf,
    pub(crate) target: Target,
    pub(crate) program: PathBuf,
    arguments: Vec<OsString>,
    probation: Option<String>,
    variables: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    stdin: Option<Arc<OwnedFd>>,
    passed: Vec<(String, Arc<OwnedFd>)>,
}

/// What clients of the server speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Tls,
    Unix,
}

/// The ports of a server, on an address of its own.
const PORT: u16 = 6789;
const ADMIN_PORT: u16 = 9100;

/// Variables that the server reads, and that a test must not inherit from whoever runs it.
const VARIABLES: [&str; 29] = [
    "ADMIN_BIND",
    "ALLOWED_IDENTITIES",
    "ALLOWED_NETWORKS",
    "BIND",
    "CLIENT_TLS_CERTIFICATE_CA",
    "CLIENT_TLS_CRL",
    "DRAINING_LIMIT",
    "DRAIN_TIMEOUT",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LOG_LEVEL",
    "LOG_PATH",
    "NOTIFY_SOCKET",
    "PID_FILE",
    "PORT",
    "PROBATION",
    "READY_TIMEOUT",
    "START_COMMAND",
    "SYSTEMD_EXEC_PID",
    "TAKEOVER_PATH",
    "TLS_CERTIFICATE",
    "TLS_KEY",
    "TLS_SELF_SIGNED",
    "TLS_VERSION",
    "VERIFY_CLIENT_TLS_CERTIFICATE",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "WORKER_THREADS",
];

impl Echo {
    /// With an address, an admin address and a pid file of its own; over TLS, with a certificate as well.
    pub fn new(kind: Kind) -> Self {
        let mut echo = Self::bare();
        let address = echo.place.address(PORT);
        let socket = echo.place.path("echo.sock");
        match kind {
            Kind::Tcp | Kind::Tls => {
                echo.arguments.extend(["--bind".into(), format!("tcp://{address}").into()]);
            }
            Kind::Unix => {
                let mut uri = OsString::from("unix://");
                uri.push(&socket);
                echo.arguments.extend(["--bind".into(), uri]);
                echo.target = Target::Unix(socket);
            }
        }
        if kind == Kind::Tls {
            let authority = Authority::new();
            let IdentityFiles { certificate, key } = authority.server().write(&echo.place, "server");
            echo.arguments.extend(["--tls-cert".into(), certificate.into(), "--tls-key".into(), key.into()]);
            echo.target = Target::tls(address, authority.trusted_by(None, Versions::Both));
            echo.authority = Some(Arc::new(authority));
        }
        let admin = format!("tcp://{}", echo.admin());
        // A restart is over when the successor has settled, and most tests wait for that.
        echo.option("--admin", admin).option("--worker-threads", "2").probation("0s")
    }

    /// Without options: with a place, but told of nothing.
    pub fn bare() -> Self {
        let place = Place::new();
        Self {
            authority: None,
            pid_file: place.path("echo.pid"),
            target: Target::tcp(place.address(PORT)),
            program: program("echo"),
            arguments: Vec::new(),
            probation: None,
            variables: Vec::new(),
            directory: None,
            stdin: None,
            passed: Vec::new(),
            place: Arc::new(place),
        }
    }

    pub fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.arguments.extend([name.into(), value.as_ref().to_owned()]);
        self
    }

    /// An option that has no value.
    pub fn flag(mut self, name: &str) -> Self {
        self.arguments.push(name.into());
        self
    }

    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The service manager passes a descriptor, and calls it this.
    pub fn pass(mut self, name: &str, descriptor: impl Into<OwnedFd>) -> Self {
        self.passed.push((name.to_owned(), Arc::new(descriptor.into())));
        self
    }

    /// How long a successor is on probation; not at all unless this is called.
    pub fn probation(mut self, time: &str) -> Self {
        self.probation = Some(time.to_owned());
        self
    }

    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.pid_file = path.into();
        self
    }

    /// Started by another program, which is given these arguments and then what it shall become.
    pub fn started_by(mut self, program: &str, arguments: &[&str]) -> Self {
        let before = arguments.iter().map(Into::into).chain([self.program.into()]);
        self.arguments = before.chain(self.arguments).collect();
        self.program = program.into();
        self
    }

    /// At another address.
    pub fn moved(mut self, to: SocketAddr) -> Self {
        let bind = self.arguments.iter().position(|argument| argument == "--bind").expect("it is bound");
        self.arguments[bind + 1] = format!("tcp://{to}").into();
        self.target = Target::tcp(to);
        self
    }

    /// Another path to the program.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = path.into();
        self
    }

    /// The directory to start it in.
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// With a control path, over which it takes over from whoever serves there.
    pub fn controlled(self) -> Self {
        let path = self.control();
        self.option("--takeover", path)
    }

    /// The path that [`controlled`](Self::controlled) gives it.
    pub fn control(&self) -> PathBuf {
        ctl::path_in(self.place.directory())
    }

    /// Its standard input; nothing unless this is called.
    pub fn stdin(mut self, descriptor: OwnedFd) -> Self {
        self.stdin = Some(Arc::new(descriptor));
        self
    }

    /// All generations of it carry out the faults that are ordered.
    pub fn faults(self) -> (Self, Faults) {
        let faults = Faults::at(self.place.path("faults"));
        (self.variable(portcullis::faults::VARIABLE, faults.directory()), faults)
    }

    /// A restart starts what this script says. It says "the same again" to begin with.
    pub fn start_script(self) -> (Self, StartScript, String) {
        let script = StartScript::at(self.place.path("start"));
        let echo = self.option("--start-command", script.path());
        let again = echo.exec_line();
        script.write(&again);
        (echo, script, again)
    }

    /// The line of a shell script that becomes this server.
    pub fn exec_line(&self) -> String {
        let words = [self.program.clone().into()].into_iter().chain(self.all_arguments());
        let words = words.map(|word: OsString| word.into_string().expect("a script is text"));
        format!("exec {}", shell_words::join(words))
    }

    pub(crate) fn all_arguments(&self) -> Vec<OsString> {
        let pid_file = ["--pid-file".into(), self.pid_file.clone().into()];
        let probation = self.probation.iter().flat_map(|time| ["--probation".into(), time.into()]);
        self.arguments.iter().cloned().chain(probation).chain(pid_file).collect()
    }

    pub fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Where its clients will connect.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    pub fn admin(&self) -> SocketAddr {
        self.place.address(ADMIN_PORT)
    }

    pub fn authority(&self) -> &Arc<Authority> {
        self.authority.as_ref().expect("only a TLS server has one")
    }

    /// Starts it, and waits until it serves.
    pub async fn start(self) -> Server {
        let arguments = self.all_arguments();
        let running = self.run(&arguments);
        Server::new(self, running).await
    }

    /// Starts it, and waits until it serves as this generation: it takes over from the one before.
    pub async fn take_over(self, generation: u64) -> Server {
        let arguments = self.all_arguments();
        let running = self.run(&arguments);
        Server::taking_over(self, running, generation).await
    }

    /// Starts it, and waits until it serves, as the first or as the next.
    pub async fn start_or_take_over(self) -> Server {
        let arguments = self.all_arguments();
        let running = self.run(&arguments);
        Server::of_any_generation(self, running).await
    }

    /// Starts it, and waits until its admin says that it serves: for one whose log goes elsewhere.
    pub async fn start_silently(self) -> Server {
        let arguments = self.all_arguments();
        let running = self.run(&arguments);
        Server::silent(self, running).await
    }

    /// Starts it without further options, and waits for it to end.
    pub async fn run_to_its_end(self) -> Ended {
        Ended::of(self.run(&self.arguments)).await
    }

    /// As [`start`](Self::start), for one that shall not serve.
    pub async fn fail_to_start(self) -> Ended {
        Ended::of(self.run(&self.all_arguments())).await
    }

    fn run(&self, arguments: &[OsString]) -> Running {
        self.run_program(&self.program, arguments)
    }

    #[expect(clippy::zombie_processes, reason = "`Process` waits for it, by a handle of its own")]
    pub(crate) fn run_program(&self, program: &Path, arguments: &[OsString]) -> Running {
        let mark = descendants::mark();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let stdin = self.stdin.as_ref().map(|stdin| stdin.try_clone().expect("a descriptor of ours"));
        let forking = descendants::forking();
        let (mut command, passed) = passing::command(program, arguments, &self.passed);
        command
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env(descendants::VARIABLE, &mark)
            .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(writer.try_clone().expect("a pipe"))
            .stderr(writer);
        let given: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        for name in VARIABLES.into_iter().filter(|name| given.iter().all(|given| given != name)) {
            command.env_remove(name);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        drop((passed, forking));
        Running { process: Process::new(child.id()), family: Family::new(mark, reader) }
    }
}
