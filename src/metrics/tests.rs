use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Handover, Page, Statistics};
use crate::handoff::Elder;

/// A generation as its process has it: what it counts, and the process.
///
/// All live in this process, but what they exchange are descriptors, and each has a process of its own that ends.
struct Process {
    generation: u64,
    statistics: Arc<Statistics>,
    accepted: Arc<AtomicU64>,
    active: Arc<AtomicU64>,
    child: Child,
}

impl Process {
    fn start(generation: u64) -> Self {
        let (accepted, active) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let statistics = Statistics::new();
        statistics.count_with({
            let (accepted, active) = (accepted.clone(), active.clone());
            move || {
                let (accepted, active) = (accepted.load(Ordering::Relaxed), active.load(Ordering::Relaxed));
                format!(
                    "# TYPE accepted_total counter\naccepted_total {accepted}\n\n\
                     # TYPE connections_active gauge\nconnections_active {active}\n\n\
                     # TYPE generation gauge\ngeneration {generation}\n\n"
                )
            }
        });
        // Lives as long as somebody could write to it.
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        Self { generation, statistics, accepted, active, child }
    }

    fn pidfd(&self) -> OwnedFd {
        pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).unwrap()
    }

    fn accept(&self, connections: u64) {
        self.accepted.fetch_add(connections, Ordering::Relaxed);
        self.active.fetch_add(connections, Ordering::Relaxed);
    }

    fn close(&self, connections: u64) {
        self.active.fetch_sub(connections, Ordering::Relaxed);
    }

    /// Starts the next one, and gives it everything; it has not settled.
    fn hand_over(&self) -> (Self, Handover) {
        let successor = Self::start(self.generation + 1);
        let mut handover = self.statistics.begin_handover(self.generation).unwrap();
        handover.serves(successor.generation, successor.child.id(), successor.pidfd());
        let mut elders = handover.generations().to_vec();
        // In this test, the process of a generation is its child.
        elders[0].process = self.pidfd().into();
        successor.statistics.inherit(elders, Some(handover.page().clone()));
        (successor, handover)
    }

    fn restart(&self) -> Self {
        let (successor, handover) = self.hand_over();
        successor.statistics.settled();
        handover.settled();
        successor
    }

    fn value(&self, series: &str) -> Option<u64> {
        let text = self.statistics.render();
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.map(|value| value.parse().unwrap())
    }

    fn total(&self) -> u64 {
        self.value("accepted_total").unwrap()
    }

    /// Killed: nothing is written any more.
    fn die(&mut self) {
        drop::<Option<ChildStdin>>(self.child.stdin.take());
        self.child.wait().unwrap();
    }

    /// Ends in good order.
    fn end(mut self) {
        self.statistics.publish();
        self.die();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.die();
    }
}

#[test]
fn totals_go_on_through_the_whole_line() {
    let mut serving = Process::start(1);
    let mut drainers = Vec::new();
    let mut total = 0;
    for generation in 2..8 {
        serving.accept(10);
        total += 10;
        let successor = serving.restart();
        assert_eq!(successor.total(), total, "generation {generation}");
        // Every second one is gone before the next restart.
        if generation % 2 == 0 {
            serving.end();
        } else {
            drainers.push(serving);
        }
        assert_eq!(successor.total(), total, "generation {generation}");
        serving = successor;
    }
}

#[test]
fn drainers_are_shown_with_their_generation_until_they_are_gone() {
    let first = Process::start(1);
    first.accept(3);
    let second = first.restart();
    second.accept(2);
    let third = second.restart();
    third.accept(1);
    assert_eq!(third.statistics.draining(), 2);
    assert_eq!(third.value("connections_active"), Some(1));
    assert_eq!(third.value("connections_active{generation=\"1\"}"), Some(3));
    assert_eq!(third.value("connections_active{generation=\"2\"}"), Some(2));
    assert_eq!((third.total(), third.value("generation")), (6, Some(3)));

    first.close(2);
    first.accept(1);
    first.statistics.publish();
    assert_eq!(third.value("connections_active{generation=\"1\"}"), Some(2));
    assert_eq!(third.total(), 7);

    first.end();
    assert_eq!(third.value("connections_active{generation=\"1\"}"), None);
    assert_eq!(third.value("connections_active{generation=\"2\"}"), Some(2));
    assert_eq!((third.statistics.draining(), third.total()), (1, 7));
    second.end();
    assert_eq!((third.statistics.draining(), third.total()), (0, 7));
    assert!(!third.statistics.render().contains("generation=\""));
    // What they left is handed on.
    assert_eq!(third.restart().total(), 7);
}

#[test]
fn whoever_departs_while_the_sockets_change_hands_is_counted_once() {
    let first = Process::start(1);
    first.accept(3);
    let second = first.restart();
    second.accept(2);
    let (third, handover) = second.hand_over();
    first.end();
    second.statistics.publish();
    assert_eq!((second.total(), third.total()), (5, 5));
    third.statistics.settled();
    handover.settled();
    second.statistics.publish();
    assert_eq!((second.total(), third.total()), (5, 5));
    second.end();
    assert_eq!(third.total(), 5);
    assert_eq!(third.restart().total(), 5);
}

#[test]
fn after_a_rollback_nothing_is_lost_or_counted_twice() {
    let first = Process::start(1);
    first.accept(3);
    let second = first.restart();
    second.accept(2);
    let (mut third, handover) = second.hand_over();
    // It serves, and is scraped; then it dies, and so does the oldest.
    third.accept(4);
    assert_eq!(third.total(), 9);
    third.accept(100);
    first.end();
    third.die();
    drop(handover);
    assert_eq!(second.total(), 9, "what was shown stays");
    assert_eq!(second.statistics.draining(), 0);
    assert_eq!(second.value("connections_active{generation=\"3\"}"), None);

    second.accept(1);
    let successor = second.restart();
    assert_eq!(successor.total(), 10);
    second.end();
    assert_eq!(successor.total(), 10);
}

#[test]
fn a_restart_may_begin_before_the_predecessor_is_out_of_the_way() {
    let first = Process::start(1);
    first.accept(3);
    let (second, settling) = first.hand_over();
    second.accept(2);
    let (_third, handover) = second.hand_over();
    drop(handover);
    first.end();
    assert_eq!(second.total(), 5);
    let page = settling.page().read().unwrap();
    assert!(page.contains("accepted_total 2\n"), "nothing of others while the first may go on: {page}");
    settling.settled();
    second.statistics.settled();
    assert_eq!(second.total(), 5);
    assert_eq!(second.restart().total(), 5);
}

#[test]
fn a_successor_that_is_rolled_back_and_drains_is_shown() {
    let first = Process::start(1);
    first.accept(1);
    let (second, handover) = first.hand_over();
    second.accept(2);
    second.statistics.publish();
    drop(handover);
    assert_eq!((first.total(), first.statistics.draining()), (3, 1));
    assert_eq!(first.value("connections_active{generation=\"2\"}"), Some(2));
    // The next one has the same number.
    let next = first.restart();
    next.accept(1);
    assert_eq!(next.value("connections_active"), Some(1));
    assert_eq!(next.value("connections_active{generation=\"2\"}"), Some(2));
    second.close(2);
    second.end();
    assert_eq!((next.total(), next.statistics.draining()), (4, 1));
}

#[test]
fn a_killed_generation_loses_nothing_that_was_shown() {
    let mut first = Process::start(1);
    first.accept(3);
    let (second, handover) = first.hand_over();
    first.accept(2);
    assert_eq!(first.total(), 5);
    first.accept(1);
    first.die();
    second.statistics.settled();
    assert_eq!(second.total(), 5);
    handover.settled();
}

#[test]
fn pages_that_are_none_change_nothing() {
    let successor = Process::start(2);
    successor.accept(1);
    let elder =
        |page: &Page| Elder { generation: 1, pid: 1, page: page.clone(), process: successor.pidfd().into() };
    let file = Page::from(OwnedFd::from(std::fs::File::open("/proc/self/exe").unwrap()));
    let (pipe, _writer) = io::pipe().unwrap();
    let pipe = Page::from(OwnedFd::from(pipe));
    successor.statistics.inherit(vec![elder(&file), elder(&pipe)], Some(file));
    assert_eq!(successor.total(), 1);
    successor.statistics.settled();
    assert_eq!(successor.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_others_read_is_written_every_second() {
    let first = Process::start(1);
    let keeping = tokio::spawn({
        let statistics = first.statistics.clone();
        async move { statistics.keep().await }
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    let second = first.restart();
    first.accept(3);
    assert_eq!(second.total(), 0);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(second.total(), 3);
    keeping.abort();
}

#[test]
fn what_is_handed_over_is_not_inherited_by_children() {
    let first = Process::start(1);
    let handover = first.statistics.begin_handover(1).unwrap();
    let [own] = handover.generations() else { panic!("it is the first") };
    for descriptor in [own.page.as_fd(), own.process.as_fd(), handover.page().as_fd()] {
        let flags = rustix::io::fcntl_getfd(descriptor).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}
