//! What both processes have in common: they run, hang, are told to finish, and die.

use super::Fault;
use crate::lifecycle::{
    Phase,
    machine::{Machine, State},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    /// `None`: it has no sockets yet, and no lifecycle, or has given up before it had any.
    pub(super) machine: Option<Machine>,
    pub(super) condition: Condition,
    pub(super) term: Term,
    /// Its accept loops accept, or will when it goes on after a hang.
    pub(super) accepting: bool,
    /// It has copies of the listening sockets.
    pub(super) holds: bool,
    /// It has hung before.
    pub(super) has_hung: bool,
    /// It has sent its hello.
    pub(super) greeted: bool,
    /// It has ended before it had a lifecycle.
    pub(super) left: bool,
    /// It was never given the sockets, and binds by itself.
    pub(super) binds: bool,
    /// It has made one of the mistakes.
    pub(super) mistaken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Condition {
    Running,
    Hung,
    /// It was sent SIGKILL: not one of its instructions runs any more (signal(7)), but what it holds
    /// is not closed yet.
    Killed,
    Dead,
}

/// The first TERM; a second one ends the process at once, which is a crash to all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Term {
    No,
    Sent,
    Obeyed,
}

impl Process {
    pub(super) fn serving(machine: Machine) -> Self {
        Self { machine: Some(machine), accepting: true, holds: true, greeted: true, ..Self::starting() }
    }

    pub(super) fn starting() -> Self {
        Self {
            machine: None,
            condition: Condition::Running,
            term: Term::No,
            accepting: false,
            holds: false,
            has_hung: false,
            greeted: false,
            left: false,
            binds: false,
            mistaken: false,
        }
    }

    pub(super) fn state(&self) -> Option<State> {
        self.machine.map(|machine| machine.state())
    }

    /// Whether its accept loops are to accept.
    pub(super) fn shall_accept(&self) -> bool {
        self.machine.is_some_and(|machine| machine.phase() == Phase::Serving)
    }

    pub(super) fn runs(&self) -> bool {
        self.condition == Condition::Running
    }

    pub(super) fn lives(&self) -> bool {
        matches!(self.condition, Condition::Running | Condition::Hung)
    }

    /// Whether it accepts connections now.
    pub(super) fn accepts(&self) -> bool {
        self.runs() && self.accepting
    }

    pub(super) fn was_told_to_finish(&self) -> bool {
        self.term == Term::Obeyed
    }

    pub(super) fn die(&mut self) {
        self.condition = Condition::Dead;
        self.accepting = false;
        self.holds = false;
    }

    pub(super) fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Crash => self.die(),
            Fault::Hang => (self.condition, self.has_hung) = (Condition::Hung, true),
            Fault::Wake => self.condition = Condition::Running,
            Fault::Term => self.term = Term::Sent,
            Fault::Sick | Fault::Request => unreachable!("these are events of the machine"),
        }
    }
}
