//! A server that tells each connection which one it is, counted over all generations: what `tests/` proves the handing on of
//! state with. A file says what mood the process that starts is in, so that each generation can be in another.
//!
//! The moods: `state-fails`, `state-panics`, `state-hangs`, `state-grows`; `check-fails`, `check-panics`, `check-hangs`, and
//! `check-waits PATH`, whose verdict somebody writes to the fifo.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use portcullis::{Accepted, Generation, GenerationBuilder, layers::BoxError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Parser)]
struct Options {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    pid_file: PathBuf,
    #[arg(long)]
    mood: PathBuf,
    #[arg(long)]
    takeover: Option<PathBuf>,
    #[arg(long, value_parser = humantime::parse_duration, default_value = "0s")]
    probation: Duration,
}

/// What the next generation may take with it, in bytes.
const STATE_LIMIT: usize = 1024;

/// Limits are part of the moods that hang; nothing expires in the others. A panic takes long on a busy
/// machine, if its backtrace is printed.
const LONG_LIMIT: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_ansi(false).with_writer(io::stderr).log_internal_errors(false).init();
    let options = Options::parse();
    let mood = std::fs::read_to_string(&options.mood)?;
    let state_timeout = if mood.trim() == "state-hangs" { Duration::from_millis(300) } else { LONG_LIMIT };
    let mut builder = Generation::builder()
        .pid_file(&options.pid_file)
        .probation(options.probation)
        .state_limit(STATE_LIMIT)
        .state_timeout(state_timeout);
    if let Some(path) = options.takeover {
        builder = builder.control(path);
    }
    let generation = with_check(builder, &mood).start().await?;

    let visits: Arc<AtomicU64> = Arc::default();
    if let Some(bytes) = generation.take_state("visits")? {
        visits.store(String::from_utf8(bytes)?.parse()?, Ordering::SeqCst);
    }
    let counted = visits.clone();
    generation.offer_state("visits", move || {
        let visits = counted.load(Ordering::SeqCst).to_string();
        async { Ok::<_, BoxError>(visits.into_bytes()) }
    });
    let mood = mood.trim().to_owned();
    generation.offer_state("mood", move || {
        let mood = mood.clone();
        async move {
            match mood.as_str() {
                "state-fails" => Err(BoxError::from("in no mood for it")),
                "state-panics" => panic!("a state that panics"),
                "state-hangs" => std::future::pending().await,
                "state-grows" => Ok(vec![0; STATE_LIMIT + 1]),
                _ => Ok(Vec::new()),
            }
        }
    });

    let listener = generation.listen("counter", options.address)?;
    let count = tower::service_fn(move |mut connection: Accepted| {
        let visit = visits.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            connection.write_all(format!("{visit}\n").as_bytes()).await?;
            // To the end of what the client has to say.
            connection.read_to_end(&mut Vec::new()).await?;
            connection.write_all(b"bye\n").await
        }
    });
    listener.serve(count).await?;
    Ok(())
}

fn with_check(builder: GenerationBuilder, mood: &str) -> GenerationBuilder {
    let mood = mood.trim().to_owned();
    let limit = if mood == "check-hangs" { Duration::from_millis(200) } else { LONG_LIMIT };
    builder.health_check(limit, move || {
        let mood = mood.clone();
        async move {
            if let Some(path) = mood.strip_prefix("check-waits ") {
                // Opening a fifo waits until somebody writes to it.
                let path = PathBuf::from(path);
                let verdict = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await??;
                return if verdict == "healthy" { Ok(()) } else { Err(verdict.into()) };
            }
            match mood.as_str() {
                "check-fails" => Err(BoxError::from("the database does not answer")),
                "check-panics" => panic!("a health check that panics"),
                "check-hangs" => std::future::pending().await,
                _ => Ok(()),
            }
        }
    })
}
