use std::{os::unix::net::UnixStream, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{
    bind::Acceptor,
    generation::{Generation, Parts, probation::Trial},
    handoff::{Arrival, Channel, HandoffPayload, Peer, Successor},
    sys::StartCommand,
};

const LIMIT: Duration = Duration::from_secs(10);

/// A successor of the process at the other end, which ends with this error.
async fn successor() -> (Generation, Runner, JoinHandle<RestartError>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let predecessor = tokio::spawn(async move {
        let mut channel = Channel::without_descriptors(ours).unwrap();
        let hello: serde_json::Value = channel.receive_any().await.unwrap();
        let hello = serde_json::from_value(hello).unwrap();
        let arrival = Arrival { channel, hello, peer: Peer { pid: 0, handle: None } };
        let payload = HandoffPayload::<Arc<Acceptor>> {
            generation: 1,
            listeners: Vec::new(),
            state: Vec::new(),
            generations: Vec::new(),
            page: None,
        };
        Successor::arrived(arrival, LIMIT).hand_over(&payload).await.unwrap_err()
    });
    let taken = Succession::over(theirs, String::new(), LIMIT).await.unwrap();
    let (generation, runner) = Generation::new(Parts {
        predecessor: Some(taken),
        activated: Vec::new(),
        pid_file: None,
        observer: Arc::new(()),
        #[cfg(feature = "tls")]
        obeys_signals: false,
        metrics_prefix: "test".to_owned(),
        state_limit: 0,
        state_timeout: LIMIT,
        settings: Settings {
            start_command: StartCommand::new("/bin/false", [""; 0]),
            ready_timeout: LIMIT,
            drain_timeout: LIMIT,
            trial: Trial { probation: LIMIT, health_check: None },
            draining_limit: 0,
        },
    });
    (generation, runner, predecessor)
}

#[tokio::test]
async fn a_panic_closes_the_channel_only_when_no_loop_accepts_and_sends_nothing() {
    let (generation, runner, mut predecessor) = successor().await;
    let lifecycle = generation.lifecycle().clone();
    let accepting = lifecycle.accepting();
    lifecycle.set_phase(Phase::Serving);
    let stopping = tokio::spawn(runner.stop_after_a_panic());
    lifecycle.phases().wait_for(|phase| *phase == Phase::Draining).await.unwrap();
    assert!(timeout(Duration::from_millis(100), &mut predecessor).await.is_err(), "the channel is closed");
    assert!(!lifecycle.has_exited());
    drop(accepting);
    let error = timeout(LIMIT, predecessor).await.unwrap().unwrap();
    // A message would have been an unexpected one.
    assert!(matches!(error, RestartError::Crashed { status: None, .. }), "{error}");
    stopping.await.unwrap();
    assert!(matches!(lifecycle.exit().await, Exit::Panicked));
}
