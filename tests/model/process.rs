//! What both sides have in common: they run, hang, are told to stop, and die.

use super::Fault;

/// A process, with `P` for where it stands in the handoff.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process<P> {
    pub(crate) phase: P,
    pub(crate) condition: Condition,
    pub(crate) term: Term,
    /// Its accept loops run, or will when it goes on after a hang.
    pub(crate) accepting: bool,
    /// It has copies of the listening sockets.
    pub(crate) holds: bool,
    /// It has hung before.
    pub(crate) has_hung: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    Running,
    Hung,
    /// It was sent SIGKILL: not one of its instructions runs any more (signal(7)), but what it holds is not closed yet.
    Killed,
    Dead,
}

/// The first TERM; a second one ends the process at once, which is a crash to everybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Term {
    No,
    Sent,
    Heard,
}

impl<P> Process<P> {
    pub(crate) fn serving(phase: P) -> Self {
        Self { accepting: true, holds: true, ..Self::starting(phase) }
    }

    pub(crate) fn starting(phase: P) -> Self {
        let (condition, term) = (Condition::Running, Term::No);
        Self { phase, condition, term, accepting: false, holds: false, has_hung: false }
    }

    pub(crate) fn runs(&self) -> bool {
        self.condition == Condition::Running
    }

    pub(crate) fn lives(&self) -> bool {
        matches!(self.condition, Condition::Running | Condition::Hung)
    }

    /// Whether it accepts connections now.
    pub(crate) fn accepts(&self) -> bool {
        self.runs() && self.accepting
    }

    pub(crate) fn was_told_to_stop(&self) -> bool {
        self.term == Term::Heard
    }

    /// Stops accepting, and closes its copies of the sockets.
    pub(crate) fn let_go(&mut self) {
        self.accepting = false;
        self.holds = false;
    }

    pub(crate) fn die(&mut self) {
        self.condition = Condition::Dead;
        self.let_go();
    }

    /// What is the same for both sides.
    pub(crate) fn life(&self) -> Process<()> {
        let Self { condition, term, accepting, holds, has_hung, .. } = *self;
        Process { phase: (), condition, term, accepting, holds, has_hung }
    }

    pub(crate) fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Crash => self.die(),
            Fault::Hang => (self.condition, self.has_hung) = (Condition::Hung, true),
            Fault::Wake => self.condition = Condition::Running,
            Fault::Term => self.term = Term::Sent,
            Fault::Sick => unreachable!("only a successor falls sick"),
        }
    }
}
