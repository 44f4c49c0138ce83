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
    let log = tracing_subscriber::fmt().with_max_level(level);
    match path {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            log.with_ansi(false).with_writer(Mutex::new(file)).init();
        }
        None => log.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr).init(),
    }
    Ok(())
}
