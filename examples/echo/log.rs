//! Where the log goes: standard error, or a file that several generations append to. Each line begins with the pid of the
//! process that writes it.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal, Write},
    path::Path,
    sync::Arc,
};

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// Installs the log of this process.
pub(crate) fn install(path: Option<&Path>, level: Level) -> io::Result<()> {
    // A line that cannot be written (the disk is full, whoever read it is gone) is lost. Without this it would be told on
    // standard error, which panics where that is gone, too.
    let log = tracing_subscriber::fmt().with_max_level(level).log_internal_errors(false);
    match path {
        Some(path) => {
            let file = Arc::new(OpenOptions::new().create(true).append(true).open(path)?);
            log.with_ansi(false).with_writer(WithPid(move || file.clone())).init();
        }
        None => log.with_ansi(io::stderr().is_terminal()).with_writer(WithPid(io::stderr)).init(),
    }
    Ok(())
}

/// Writes the pid before each event, and both at once: other generations write to the same place.
struct WithPid<M>(M);

/// See [`WithPid`]; made anew for each event, which is written to it as a whole.
struct Line<W>(W);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for WithPid<M> {
    type Writer = Line<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self.0.make_writer())
    }
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut line = format!("[{}] ", std::process::id()).into_bytes();
        line.extend_from_slice(event);
        self.0.write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
