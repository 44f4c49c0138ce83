//! A `tracing` subscriber that panics while a restart is under way changes nothing.

use std::{fmt, io};

use portcullis::{Accepted, Generation, RestartError, StartCommand};
use tracing::{Event, Metadata, Subscriber, field::Visit, span};

/// Panics at one line of the log.
struct PanicsAt(&'static str);

struct Finds(&'static str, bool);

impl Visit for Finds {
    fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.1 |= format!("{value:?}").contains(self.0);
    }
}

impl Subscriber for PanicsAt {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut finds = Finds(self.0, false);
        event.record(&mut finds);
        assert!(!finds.1, "the log is gone");
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(flavor = "current_thread")]
async fn a_panic_of_the_log_changes_no_restart() {
    let _default = tracing::subscriber::set_default(PanicsAt("restart requested"));
    let builder = Generation::builder().signals(false).start_command(StartCommand::new("false", [""; 0]));
    let generation = builder.start().await.expect("it starts");
    let listener = generation.listen("echo", "tcp://127.0.0.1:0").expect("a port");
    let service = tower::service_fn(async |_: Accepted| Ok::<_, io::Error>(()));
    let serving = tokio::spawn(listener.serve(service));
    let mut phases = generation.phases();
    let serves = phases.wait_for(|phase| *phase == portcullis::Phase::Serving);
    harness::within("it serves", serves).await.expect("it lives");

    for _ in 0..2 {
        let error = harness::within("an answer", generation.restart()).await.expect_err("`false` fails");
        assert!(matches!(error, RestartError::Crashed { .. }), "{error:?}");
        assert_eq!(generation.phase(), portcullis::Phase::Serving);
    }
    generation.drain();
    let served = harness::within("the end of serving", serving).await.expect("serving does not panic");
    assert_eq!(served.expect("it drains").forced, 0);
}
