//! Where the log goes: standard error, or a file that several generations append to.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal},
    path::Path,
    sync::Mutex,
};

use tracing::Level;

/// Installs the log of this process.
pub(crate) fn install(path: Option<&Path>, level: Level) -> io::Result<()> {
    // A line that cannot be written (the disk is full, whoever read it is gone) is lost. Without this it would be told on
    // standard error, which panics where that is gone, too.
    let log = tracing_subscriber::fmt().with_max_level(level).log_internal_errors(false);
    match path {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            log.with_ansi(false).with_writer(Mutex::new(file)).init();
        }
        None => log.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr).init(),
    }
    Ok(())
}
