//! R17: no descriptor is left while a handoff is under way, on either side, at whichever of its steps: aborted cleanly, and
//! the next restart works. And more descriptors than one message takes (`SCM_MAX_FD`, unix(7)): they come in batches.

use harness::{Echo, Kind, Outcome, Target};

use crate::line::Line;

/// So many are always enough.
const ENOUGH: usize = 60;

/// With 0, 1, 2, ... descriptors to spare, until they suffice: each of those that it takes was once the one that failed.
#[tokio::test]
async fn a_predecessor_without_free_descriptors_aborts_the_restart() {
    // The successor has the limit from us.
    let (echo, script, again) = Line::echo().start_script();
    script.write(&format!("ulimit -S -n 1024\n{again}"));
    let mut line = Line::unarmed(echo).await;
    let mut held = line.server.target().connect().await.expect("a connection");
    let mut reached = 0;
    for spare in 0..ENOUGH {
        held.echo(1000).await.expect("an echo");
        let start = line.server.log().len();
        line.server.serving().limit_descriptors(Some(spare));
        let outcome = line.server.try_restart().await;
        match outcome {
            Outcome::Succeeded(predecessor) => {
                predecessor.limit_descriptors(None);
                reached = spare;
                break;
            }
            Outcome::Failed(result) => {
                line.server.serving().limit_descriptors(None);
                let reason = |line: &str| line.contains("restart failed") && line.contains("os error 24");
                assert_eq!(line.server.log().count_from(start, reason), 1, "with {spare} to spare");
                line.comes_to_nothing(start, &[&result]).await;
            }
        }
    }
    assert!(reached > 2, "it needs some: {reached}");
    line.server.target().visit(1000).await.expect("the successor serves");
    held.finish().await.expect("an orderly end");
    line.restarts().await;
}

#[tokio::test]
async fn a_successor_without_free_descriptors_changes_nothing() {
    let (echo, script, again) = Line::echo().option("--ready-timeout", "5s").start_script();
    let mut line = Line::unarmed(echo).await;
    let load = line.load().await;
    let mut failures = 0;
    for limit in 4..ENOUGH {
        script.write(&format!("ulimit -S -n {limit}\n{again}"));
        let start = line.server.log().len();
        match line.server.try_restart().await {
            Outcome::Succeeded(_) => break,
            Outcome::Failed(result) => line.comes_to_nothing(start, &[&result]).await,
        }
        failures += 1;
    }
    assert!(failures > 5, "it needs some: {failures}");
    let lost = |line: &str| line.contains("descriptors were lost on the way");
    assert!(line.server.log().count_from(0, lost) > 0, "the sockets are among what it has no room for");
    line.server.serving().limit_descriptors(None);
    load.more(10).await;
    load.stop().await.assert_clean(50);
    script.write(&again);
    line.restarts().await;
}

/// More than one message takes, and more than two.
const LISTENERS: u16 = 600;

#[tokio::test]
async fn hundreds_of_listeners_are_handed_over() {
    let mut echo = Echo::new(Kind::Tcp);
    let addresses: Vec<_> = (10_000..10_000 + LISTENERS).map(|port| echo.place().address(port)).collect();
    for address in &addresses {
        echo = echo.option("--bind", format!("tcp://{address}"));
    }
    let mut server = echo.start().await;
    let sockets = server.serving().sockets();
    for _ in 0..2 {
        let start = server.log().len();
        server.restart().await;
        let inherited = |line: &str| line.contains("listening") && line.contains("inherited=true");
        // With its own and the admin's.
        assert_eq!(server.log().count_from(start, inherited), usize::from(LISTENERS) + 2);
        assert!(server.serving().sockets().intersection(&sockets).count() > usize::from(LISTENERS));
    }
    for address in addresses {
        Target::tcp(address).visit(10).await.expect("each is served");
    }
}
