//! How the next generation is started.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The program that a restart starts, with its arguments.
///
/// By default it is this program with its own arguments ([`StartCommand::itself`]). A wrapper script must
/// `exec` the server: the sockets are handed to the process that was started, not to a child of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartCommand {
    program: OsString,
    /// With the program's own name in front.
    arguments: Vec<OsString>,
    directory: Option<PathBuf>,
}

/// Why a text is not a [`StartCommand`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartCommandError {
    /// There is no program in it.
    #[error("there is no program in it; write a program and its arguments")]
    Empty,
    /// A quote is not closed.
    #[error("it cannot be split into words; close every quote")]
    Quote,
}

impl StartCommand {
    /// A program and its arguments. A name without a slash is looked up in `PATH` at each restart, a relative path
    /// starts at the current directory of this process.
    ///
    /// ```
    /// let command = portcullis::StartCommand::new("/opt/echo/current/bin/echo", ["--port", "6789"]);
    /// assert_eq!(command.to_string(), "/opt/echo/current/bin/echo --port 6789");
    /// ```
    pub fn new<A>(program: impl Into<OsString>, arguments: impl IntoIterator<Item = A>) -> Self
    where
        A: Into<OsString>,
    {
        let program = program.into();
        let arguments =
            std::iter::once(program.clone()).chain(arguments.into_iter().map(Into::into)).collect();
        Self { program, arguments, directory: None }
    }

    /// This program, as it was started: same arguments, same directory.
    ///
    /// The path is the one it was started by, so that a binary that was replaced, or a symbolic link that now leads
    /// to a new release, is what runs next. So is the directory: where the shell's `PWD` leads through symbolic
    /// links to the directory we are in, the links are followed anew at each restart; where that path is gone, the
    /// successor inherits the directory itself. Call this early: it looks at the current directory now.
    #[must_use]
    pub fn itself() -> Self {
        let directory = directory_as_named();
        let arguments: Vec<OsString> = env::args_os().collect();
        let program = match arguments.first() {
            Some(name) => startable(name, directory.as_deref()),
            None => None,
        };
        // Started under a name that leads nowhere (a login shell's `-sh`): fall back on what the kernel knows.
        let program = program.or_else(|| env::current_exe().ok().map(Into::into)).unwrap_or_default();
        Self {
            arguments: if arguments.is_empty() { vec![program.clone()] } else { arguments },
            program,
            directory,
        }
    }

    /// The same without every argument that is exactly this one: for a program that starts itself in another role.
    ///
    /// ```
    /// let command = portcullis::StartCommand::new("echo", ["--supervise", "--port", "6789"]);
    /// assert_eq!(command.without("--supervise").to_string(), "echo --port 6789");
    /// ```
    #[must_use]
    pub fn without(mut self, argument: impl AsRef<OsStr>) -> Self {
        let argument = argument.as_ref();
        // The first is the program's name.
        let mut first = true;
        self.arguments.retain(|given| std::mem::take(&mut first) || given != argument);
        self
    }

    /// The program: a path, or a name to look up in `PATH`.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// The arguments, with the program's own name in front.
    #[must_use]
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// The directory to start it in, where it still exists.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref().filter(|directory| directory.is_dir())
    }
}

/// The path under which `name` can be started again, or `None` if it leads to no file now.
fn startable(name: &OsStr, directory: Option<&Path>) -> Option<OsString> {
    let path = Path::new(name);
    if path.components().count() > 1 {
        let path = directory.map_or_else(|| path.to_owned(), |directory| directory.join(path));
        return path.is_file().then(|| path.into());
    }
    // A name without a slash may be anything (`exec -a`): it stands for us if the shell would find us by it.
    let found =
        env::split_paths(&env::var_os("PATH")?).map(|entry| entry.join(path)).find(|path| path.is_file())?;
    (identity(&found) == identity(Path::new("/proc/self/exe"))).then(|| name.to_owned())
}

/// Which file it is that a path leads to.
fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok()
}

/// The current directory by the name that the shell gave it, if that still leads here.
fn directory_as_named() -> Option<PathBuf> {
    let named = env::var_os("PWD").map(PathBuf::from).filter(|path| path.is_absolute());
    named.filter(|path| identity(path) == identity(Path::new("."))).or_else(|| env::current_dir().ok())
}

/// Split as a shell would, without running one: quotes and backslashes, no variables, no globs.
impl FromStr for StartCommand {
    type Err = StartCommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = shell_words::split(text).map_err(|_| StartCommandError::Quote)?.into_iter();
        let program = words.next().filter(|program| !program.is_empty()).ok_or(StartCommandError::Empty)?;
        Ok(Self::new(program, words))
    }
}

impl fmt::Display for StartCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments = self.arguments.iter().skip(1);
        let words = std::iter::once(&self.program).chain(arguments).map(|word| word.to_string_lossy());
        f.write_str(&shell_words::join(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_would() {
        let command: StartCommand = "/bin/env 'A=b c' echo".parse().unwrap();
        assert_eq!(command.program(), "/bin/env");
        assert_eq!(command.arguments(), ["/bin/env", "A=b c", "echo"]);
        assert_eq!(command.to_string(), "/bin/env 'A=b c' echo");
    }

    #[test]
    fn a_command_that_says_nothing_is_refused() {
        assert!(matches!("  ".parse::<StartCommand>(), Err(StartCommandError::Empty)));
        assert!(matches!("echo 'a".parse::<StartCommand>(), Err(StartCommandError::Quote)));
    }

    #[test]
    fn itself_can_be_started_again() {
        let command = StartCommand::itself();
        assert!(Path::new(command.program()).is_file());
        assert_eq!(command.arguments(), env::args_os().collect::<Vec<_>>());
    }
}
