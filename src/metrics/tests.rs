use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use metrics::{CounterFn, GaugeFn, HistogramFn};

use super::{
    EarlierGeneration, GenerationMetrics, HandoffMetrics, MetricsPage, Registry, labels::Labels,
    series::Series,
};
use crate::sys::ProcessHandle;

/// A generation as its process has it: what it counts, and the process.
///
/// All live in this process, but what they exchange are descriptors, and each has a process of its
/// own that ends.
struct Process {
    generation: u64,
    metrics: Arc<GenerationMetrics>,
    registry: Arc<Registry>,
    accepted: Arc<Series>,
    active: Arc<Series>,
    duration: Arc<Series>,
    child: Child,
}

impl Process {
    fn start(generation: u64) -> Self {
        Self::start_with(generation, GenerationMetrics::new())
    }

    fn start_with(generation: u64, metrics: Arc<GenerationMetrics>) -> Self {
        let registry = Registry::new(Vec::new());
        let accepted = registry.counter("accepted_total", Labels::default());
        metrics.attach(&registry);
        let active = registry.gauge("connections_active", Labels::default());
        let duration = registry.histogram("connection_duration_seconds", Labels::default());
        // Lives as long as somebody could write to it.
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        Self { generation, metrics, registry, accepted, active, duration, child }
    }

    fn process(&self) -> ProcessHandle {
        ProcessHandle::open(self.child.id()).unwrap()
    }

    fn accept(&self, connections: u32) {
        CounterFn::increment(&*self.accepted, connections.into());
        GaugeFn::increment(&*self.active, connections.into());
    }

    fn close(&self, connections: u32) {
        self.active.decrement(connections.into());
        (0..connections).for_each(|_| self.duration.record(0.1));
    }

    /// Starts the next one, and gives it everything; it has not settled.
    fn hand_over(&self) -> (Self, HandoffMetrics) {
        let mut handoff = self.metrics.begin_handoff(self.generation);
        let mut earlier = handoff.generations().to_vec();
        // In this test, the process of a generation is its child.
        earlier[0].process = self.process();
        let metrics = GenerationMetrics::new();
        metrics.inherit(&earlier, handoff.page().cloned());
        let successor = Self::start_with(self.generation + 1, metrics);
        handoff.successor_serves(successor.generation, successor.child.id(), successor.process());
        (successor, handoff)
    }

    fn restart(&self) -> Self {
        let (successor, handoff) = self.hand_over();
        successor.metrics.settled();
        handoff.settled();
        successor
    }

    fn value(&self, series: &str) -> Option<String> {
        let text = self.metrics.render();
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.map(str::to_owned)
    }

    fn active_in(&self, generation: u64) -> Option<u64> {
        let value = self.value(&format!("connections_active{{generation=\"{generation}\"}}"))?;
        Some(value.parse().unwrap())
    }

    fn total(&self) -> u64 {
        self.value("accepted_total").unwrap().parse().unwrap()
    }

    /// What is on its own page.
    fn on_page(&self) -> String {
        self.registry.render()
    }

    /// Killed: it has no last word.
    fn end(&mut self) {
        drop::<Option<ChildStdin>>(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn totals_go_on_through_all_generations() {
    let mut serving = Process::start(1);
    let mut draining = Vec::new();
    let mut total = 0;
    for generation in 2..8 {
        serving.accept(10);
        serving.close(10);
        total += 10;
        let successor = serving.restart();
        assert_eq!(successor.total(), total, "generation {generation}");
        // Every second one has ended before the next restart.
        if generation % 2 == 0 {
            drop(serving);
        } else {
            draining.push(serving);
        }
        assert_eq!(successor.total(), total, "generation {generation}");
        let value = |series| successor.value(series).unwrap();
        assert_eq!(value("connection_duration_seconds_count"), total.to_string());
        assert_eq!(value("connection_duration_seconds_bucket{le=\"0.05\"}"), "0");
        assert_eq!(value("connection_duration_seconds_bucket{le=\"0.25\"}"), total.to_string());
        assert_eq!(value("connection_duration_seconds_sum"), (total / 10).to_string());
        serving = successor;
    }
}

#[test]
fn draining_generations_are_shown_with_their_number_until_they_have_ended() {
    let first = Process::start(1);
    first.accept(3);
    let second = first.restart();
    second.accept(2);
    let third = second.restart();
    third.accept(1);
    assert_eq!(third.metrics.draining_count(), 2);
    assert_eq!(third.value("connections_active").as_deref(), Some("1"));
    assert_eq!((third.active_in(1), third.active_in(2)), (Some(3), Some(2)));
    assert_eq!(third.total(), 6);

    first.close(2);
    first.accept(1);
    assert_eq!(third.active_in(1), Some(2));
    assert_eq!(third.total(), 7);

    drop(first);
    assert_eq!((third.active_in(1), third.active_in(2)), (None, Some(2)));
    assert_eq!((third.metrics.draining_count(), third.total()), (1, 7));
    drop(second);
    assert_eq!((third.metrics.draining_count(), third.total()), (0, 7));
    assert!(!third.metrics.render().contains("generation=\""));
    // What they left is handed on, and their pages are not.
    assert!(third.on_page().contains("accepted_total 7\n"));
    assert_eq!(third.metrics.begin_handoff(3).generations().len(), 1);
    assert_eq!(third.restart().total(), 7);
}

#[test]
fn what_ends_while_the_sockets_are_handed_over_is_counted_once() {
    let first = Process::start(1);
    first.accept(3);
    let second = first.restart();
    second.accept(2);
    let (third, handoff) = second.hand_over();
    drop(first);
    assert_eq!((second.total(), third.total()), (5, 5));
    third.metrics.settled();
    handoff.settled();
    assert_eq!((second.total(), third.total()), (5, 5));
    drop(second);
    assert_eq!(third.total(), 5);
    assert_eq!(third.restart().total(), 5);
}

#[test]
fn after_a_rollback_nothing_is_lost_or_counted_twice() {
    let first = Process::start(1);
    first.accept(3);
    let second = first.restart();
    second.accept(2);
    let (mut third, handoff) = second.hand_over();
    // It serves, and is scraped; then it dies, and so does the oldest.
    third.accept(4);
    assert_eq!(third.total(), 9);
    third.accept(100);
    drop(first);
    third.end();
    drop(handoff);
    assert_eq!(second.total(), 109, "whatever it has counted");
    assert_eq!(second.metrics.draining_count(), 0);
    assert_eq!(second.active_in(3), None);

    second.accept(1);
    let successor = second.restart();
    assert_eq!(successor.total(), 110);
    drop(second);
    assert_eq!(successor.total(), 110);
}

#[test]
fn a_restart_may_begin_before_the_predecessor_has_let_go() {
    let first = Process::start(1);
    first.accept(3);
    let (second, settling) = first.hand_over();
    second.accept(2);
    let (_third, handoff) = second.hand_over();
    drop(handoff);
    drop(first);
    assert_eq!(second.total(), 5);
    let page = settling.page().unwrap().read().unwrap().to_string();
    assert!(page.contains("accepted_total 2\n"), "nothing of others while the first may go on: {page}");
    settling.settled();
    second.metrics.settled();
    assert_eq!(second.total(), 5);
    assert_eq!(second.restart().total(), 5);
}

#[test]
fn a_successor_that_is_rolled_back_and_drains_is_shown() {
    let first = Process::start(1);
    first.accept(1);
    let (second, handoff) = first.hand_over();
    second.accept(2);
    drop(handoff);
    assert_eq!((first.total(), first.metrics.draining_count()), (3, 1));
    assert_eq!(first.active_in(2), Some(2));
    // The next one has the same number.
    let next = first.restart();
    next.accept(1);
    assert_eq!(next.value("connections_active").as_deref(), Some("1"));
    assert_eq!(next.active_in(2), Some(2));
    second.close(2);
    drop(second);
    assert_eq!((next.total(), next.metrics.draining_count()), (4, 1));
}

#[test]
fn a_killed_generation_loses_nothing() {
    let mut first = Process::start(1);
    first.accept(3);
    let (second, handoff) = first.hand_over();
    first.accept(2);
    assert_eq!(first.total(), 5);
    first.accept(1);
    first.end();
    second.metrics.settled();
    assert_eq!(second.total(), 6);
    handoff.settled();
}

#[test]
fn pages_that_are_none_change_nothing() {
    let process = ProcessHandle::open(std::process::id()).unwrap();
    let file = || MetricsPage::from(OwnedFd::from(File::open("/proc/self/exe").unwrap()));
    let (pipe, _writer) = io::pipe().unwrap();
    let pipe = MetricsPage::from(OwnedFd::from(pipe));
    let earlier = [Some(file()), Some(pipe), None].map(|page| EarlierGeneration {
        generation: 1,
        pid: 1,
        page,
        process: process.clone(),
    });
    let metrics = GenerationMetrics::new();
    metrics.inherit(&earlier, Some(file()));
    let successor = Process::start_with(2, metrics);
    successor.accept(1);
    assert_eq!(successor.total(), 1);
    successor.metrics.settled();
    assert_eq!(successor.total(), 1);
    // Nor do they stop a restart.
    let handoff = successor.metrics.begin_handoff(2);
    assert!(handoff.generations()[0].page.is_none() && handoff.page().is_some());
}

#[test]
fn a_successor_without_a_page_makes_one_itself() {
    let metrics = GenerationMetrics::new();
    metrics.inherit(&[], None);
    let second = Process::start_with(2, metrics);
    second.metrics.settled();
    second.accept(3);
    assert_eq!(second.restart().total(), 3);
}

#[test]
fn series_that_find_no_room_are_counted_and_those_before_them_go_on() {
    let first = Process::start(1);
    first.accept(3);
    for listener in ["a", "b"] {
        let labels = Labels::new([("listener".to_owned(), listener.repeat(33 << 20))]).unwrap();
        CounterFn::increment(&*first.registry.counter("large_total", labels), 1);
    }
    let lines = |process: &Process| process.metrics.render().matches("\nlarge_total{").count();
    assert_eq!((first.total(), lines(&first)), (3, 2));
    let second = first.restart();
    assert_eq!((second.total(), lines(&second)), (3, 1));
}

/// With the lock held that is needed to look at any series: a restart takes none of it, however
/// many there are.
#[test]
fn a_handoff_does_not_look_at_the_series() {
    let first = Process::start(1);
    first.accept(3);
    for listener in 0..1000 {
        for reason in 0..80 {
            let label = |name: &str, value: u32| (name.to_owned(), value.to_string());
            let labels = Labels::new([label("listener", listener), label("reason", reason)]).unwrap();
            CounterFn::increment(&*first.registry.counter("connections_closed_total", labels), 1);
        }
    }
    let locked = first.registry.locked();
    let mut handoff = first.metrics.begin_handoff(1);
    handoff.successor_serves(2, 1, first.process());
    drop(handoff);
    first.metrics.settled();
    let handoff = first.metrics.begin_handoff(1);
    drop(locked);
    let metrics = GenerationMetrics::new();
    metrics.inherit(handoff.generations(), handoff.page().cloned());
    let second = Process::start_with(2, metrics);
    assert_eq!(second.total(), 3);
    let text = second.metrics.render();
    assert_eq!(text.lines().filter(|line| line.starts_with("connections_closed_total{")).count(), 80_000);
}

#[tokio::test]
async fn the_end_of_a_generation_is_noticed_without_a_look() {
    let first = Process::start(1);
    first.accept(3);
    let second = first.restart();
    second.accept(1);
    assert!(second.on_page().contains("accepted_total 1\n"));
    drop(first);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !second.on_page().contains("accepted_total 4\n") {
        assert!(tokio::time::Instant::now() < deadline, "{}", second.on_page());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(second.total(), 4);
}

#[test]
fn what_is_handed_over_is_not_inherited_by_children() {
    let first = Process::start(1);
    let handoff = first.metrics.begin_handoff(1);
    let [own] = handoff.generations() else { panic!("it is the first") };
    for descriptor in
        [own.page.as_ref().unwrap().as_fd(), own.process.as_fd(), handoff.page().unwrap().as_fd()]
    {
        let flags = rustix::io::fcntl_getfd(descriptor).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}
