use std::{convert::Infallible, os::unix::net::UnixStream, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{
    bind::Acceptor,
    generation::{Generation, Parts, probation::Trial},
    handoff::{Arrival, Channel, HandoffPayload, Inheritance, Peer, Successor},
    listener::Accepted,
    sys::StartCommand,
};

const LIMIT: Duration = Duration::from_secs(10);

fn parts(predecessor: Option<(Succession, Inheritance)>) -> Parts {
    Parts {
        predecessor,
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
    }
}

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
    let (generation, runner) = Generation::new(parts(Some(taken)));
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

/// It was when the generation was ready.
#[tokio::test]
async fn a_listener_that_is_gone_is_not_waited_for() {
    let (generation, runner) = Generation::new(parts(None));
    let lifecycle = generation.lifecycle();
    let serve = |name| {
        let listener = generation.listen(name, "tcp://127.0.0.1:0").unwrap();
        tokio::spawn(listener.serve(tower::service_fn(async |_: Accepted| Ok::<_, Infallible>(()))))
    };
    let _stays = serve("stays");
    let goes = serve("goes");
    generation.registry().ready().await;
    lifecycle.set_phase(Phase::Serving);
    timeout(LIMIT, lifecycle.accept_loops(|accepting| accepting == 2)).await.unwrap();
    lifecycle.set_phase(Phase::Standby);
    timeout(LIMIT, lifecycle.accept_loops(|accepting| accepting == 0)).await.unwrap();

    lifecycle.set_phase(Phase::Serving);
    let all = tokio::spawn({
        let shared = runner.shared.clone();
        async move { shared.all_accept().await }
    });
    goes.abort();
    timeout(LIMIT, all).await.expect("the other one accepts").unwrap();
}
