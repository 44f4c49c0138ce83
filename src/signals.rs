//! The signals of an operator: `USR1` restarts, `TERM` and `INT` drain, a second one ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::generation::Generation;

/// Takes over the signals now, and obeys them in a task of its own.
pub(crate) fn obey(generation: &Generation) -> io::Result<()> {
    let restart = signal(SignalKind::user_defined1())?;
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(restart_on(restart, generation.clone()));
    tokio::spawn(drain_on(terminate, interrupt, generation.clone()));
    Ok(())
}

async fn restart_on(mut restart: Signal, generation: Generation) {
    while restart.recv().await.is_some() {
        // The outcome is logged and counted where it is known. The next request must not wait for it:
        // the generation remembers one that comes during a restart.
        let generation = generation.clone();
        tokio::spawn(async move { generation.restart().await });
    }
}

async fn drain_on(mut terminate: Signal, mut interrupt: Signal, generation: Generation) {
    let mut again = false;
    loop {
        let name = tokio::select! {
            Some(()) = terminate.recv() => "TERM",
            Some(()) = interrupt.recv() => "INT",
            else => return,
        };
        // The first one from an operator is graceful, also for a generation that already drains after a handoff.
        if again {
            let connections = generation.lifecycle().open(false).connections();
            generation.remove_paths().await;
            log!(warn, signal = name, connections, "told again to end: at once");
            std::process::exit(1);
        } else {
            again = true;
            generation.drain();
            log!(info, signal = name, "told to end: finishing connections");
        }
    }
}
