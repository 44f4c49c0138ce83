//! The handoff as a state machine, so that every order of events can be tried: both sides, the channel between them, the
//! kernel's queue, and at every step a death, a hang, a signal and each timer.
//!
//! What a process does is in [`predecessor`] and [`successor`]; [`promises`] says what must hold of it. The names of the
//! library's functions stand beside the steps that they take. A death, a refusal and a limit that ends are one event
//! for the predecessor wherever they have one effect.
//!
//! Time is not modelled: a limit may end at any moment in which its process waits, so that no promise rests on one limit
//! being longer than another. Hangs, signals and the connection come once each: every run ends
//! (`every_run_ends`), and what must come to pass is looked for in the states where nothing is left to do
//! ([`State::is_at_rest`]).

mod channel;
mod predecessor;
mod process;
mod promises;
mod successor;

use stateright::{Model, Property};

use self::{
    channel::{Down, Pipe, Up},
    process::{Condition, Process, Term},
};
pub(crate) use self::{predecessor::Predecessor, successor::Successor};

/// One handoff, from a predecessor that serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handoff {
    pub(crate) candidate: Candidate,
    pub(crate) mistake: Option<Mistake>,
}

/// Who becomes the successor, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// Started by the predecessor: the sockets are in the socketpair before it runs, and it can be killed.
    Child,
    /// It has connected to the takeover path, and gets the sockets after its hello. It can be killed.
    Neighbour,
    /// As a neighbour, but in a PID namespace that the predecessor cannot see into: no signal reaches it.
    Stranger,
}

/// A mistake that an implementation could make. The model must find each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// The predecessor gives its sockets away with the commit instead of with `settled`.
    ClosesAtCommit,
    /// The predecessor closes the channel where it should say `abort`.
    ClosesInsteadOfAbort,
    /// The predecessor accepts again as soon as it has decided so, and kills afterwards.
    AcceptsBeforeTheKill,
    /// The predecessor commits while its accept loops still run.
    CommitsBeforeItStops,
    /// The predecessor accepts again as soon as it has said `abort` to a stranger.
    DoesNotWaitForAStranger,
    /// The predecessor takes `settled` for garbage where it waits for `serving`.
    InsistsOnServing,
    /// A limit counts although the other side's word, or its end, lies in the socket.
    DoesNotLookOnceMore,
    /// The sockets are handed to a child after its hello.
    HandsOverLate,
    /// The successor ends when its predecessor has died.
    DoesNotPromoteItself,
    /// The successor accepts when it is ready.
    DoesNotWaitForCommit,
    /// The successor does not read on after it has said `settled`.
    StopsReadingAtSettled,
    /// The successor says that it is sick, and stops accepting afterwards.
    SaysSickFirst,
    /// A sick successor that has stopped accepting goes on if the predecessor does not answer in time.
    ServesSickAfterAWhile,
    /// A successor that is told to stop in its probation closes the channel without a word.
    LeavesProbationSilently,
}

/// Everything that there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) predecessor: Process<Predecessor>,
    pub(crate) successor: Process<Successor>,
    /// From the predecessor to the successor.
    down: Pipe<Down>,
    /// From the successor to the predecessor.
    up: Pipe<Up>,
    client: Client,
    /// The predecessor called the handoff off before it had committed.
    called_off: bool,
    /// The predecessor has waited long enough for the end of a successor that it called off.
    gave_it_up: bool,
    /// The successor heard a TERM when the service was its own: from then on nobody may accept.
    stopped: bool,
}

/// A connection in the kernel's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    NotYet,
    Waits,
    Served,
    /// Reset, for the last copy of the socket was closed.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Predecessor,
    Successor,
}

const SIDES: [Side; 2] = [Side::Predecessor, Side::Successor];

/// What a process would do now by itself.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// It waits for a message.
    reads: bool,
    /// It has something to do.
    acts: bool,
    /// It does not wait for ever.
    has_limit: bool,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A process takes a step of the handoff.
    Step(Side, Step),
    /// Something that may happen to it, or never.
    Fault(Side, Fault),
    /// A client connects.
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It reads the next message, or the end of the channel.
    Read,
    /// It does what is next in its phase.
    Act,
    /// It has waited long enough.
    TimeOut,
    /// It obeys the TERM that it was sent.
    Obey,
    /// It accepts the connection that waits.
    Accept,
    /// It was killed, and is gone now.
    Die,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash,
    /// It does nothing from here on, and keeps what it has.
    Hang,
    /// It goes on after a hang.
    Wake,
    Term,
    /// The successor's own health check fails.
    Sick,
}

impl Handoff {
    fn errs(self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn can_kill(self) -> bool {
        self.candidate != Candidate::Stranger
    }

    /// Whether the sockets are in the channel from the first moment on.
    fn hands_over_early(self) -> bool {
        self.candidate == Candidate::Child && !self.errs(Mistake::HandsOverLate)
    }

    /// What processes do if nothing disturbs them.
    fn steps(self, state: &State, actions: &mut Vec<Action>) {
        let mut offer = |side, step, offered| {
            if offered {
                actions.push(Action::Step(side, step));
            }
        };
        for side in SIDES {
            let (life, turn, readable) = match side {
                Side::Predecessor => {
                    (state.predecessor.life(), predecessor::turn(self, state), state.up.is_readable())
                }
                Side::Successor => {
                    (state.successor.life(), successor::turn(self, state), state.down.is_readable())
                }
            };
            offer(side, Step::Die, life.condition == Condition::Killed);
            if life.condition == Condition::Running {
                // What lies in the socket counts (`Receiver::receive_within`).
                let may_give_up = !readable || self.errs(Mistake::DoesNotLookOnceMore);
                offer(side, Step::Read, turn.reads && readable);
                offer(side, Step::Act, turn.acts);
                offer(side, Step::TimeOut, turn.has_limit && may_give_up);
                offer(side, Step::Obey, life.term == Term::Sent);
                offer(side, Step::Accept, life.accepting && state.client == Client::Waits);
            }
        }
    }

    /// What may disturb them.
    fn faults(state: &State, actions: &mut Vec<Action>) {
        let mut offer = |side, fault, offered| {
            if offered {
                actions.push(Action::Fault(side, fault));
            }
        };
        for side in SIDES {
            let life = match side {
                Side::Predecessor => state.predecessor.life(),
                Side::Successor => state.successor.life(),
            };
            let lives = matches!(life.condition, Condition::Running | Condition::Hung);
            offer(side, Fault::Crash, lives);
            offer(side, Fault::Hang, life.condition == Condition::Running && !life.has_hung);
            offer(side, Fault::Wake, life.condition == Condition::Hung);
            offer(side, Fault::Term, lives && life.term == Term::No);
        }
        let may_fall_sick = state.successor.runs() && state.successor.phase == Successor::Probation;
        offer(Side::Successor, Fault::Sick, may_fall_sick);
        if state.client == Client::NotYet && state.is_held() {
            actions.push(Action::Connect);
        }
    }
}

impl Model for Handoff {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut down = Pipe::new();
        if self.hands_over_early() {
            down.send(Down::Manifest);
        }
        vec![State {
            predecessor: Process::serving(Predecessor::AwaitHello),
            successor: Process::starting(Successor::Starting),
            down,
            up: Pipe::new(),
            client: Client::NotYet,
            called_off: false,
            gave_it_up: false,
            stopped: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.steps(state, actions);
        Self::faults(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Connect => next.client = Client::Waits,
            Action::Step(_, Step::Accept) => next.client = Client::Served,
            Action::Step(Side::Predecessor, step) => predecessor::step(*self, &mut next, step),
            Action::Step(Side::Successor, step) => successor::step(*self, &mut next, step),
            Action::Fault(Side::Successor, Fault::Sick) => successor::fall_sick(*self, &mut next),
            Action::Fault(Side::Predecessor, fault) => next.predecessor.suffer(fault),
            Action::Fault(Side::Successor, fault) => next.successor.suffer(fault),
        }
        next.settle_accounts();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::all()
    }
}

impl State {
    /// Whether no process has anything left to do: so it stays, unless something happens from outside.
    pub(crate) fn is_at_rest(&self, handoff: Handoff) -> bool {
        let mut steps = Vec::new();
        handoff.steps(self, &mut steps);
        steps.is_empty()
    }

    /// Whether a copy of the listening sockets is open: in a process, or in the channel of one that can read it.
    fn is_held(&self) -> bool {
        self.predecessor.holds || self.successor.holds || self.down.holds(&Down::Manifest)
    }

    /// What the kernel does after each step: ends of channels close with their processes, and the queue goes with the last
    /// copy of its socket.
    fn settle_accounts(&mut self) {
        if self.predecessor.condition == Condition::Dead {
            self.down.close_writer();
            self.up.close_reader();
        }
        if self.successor.condition == Condition::Dead {
            self.up.close_writer();
            self.down.close_reader();
        }
        if self.client == Client::Waits && !self.is_held() {
            self.client = Client::Lost;
        }
    }

    /// Nobody goes on with the sockets after this process: what waits in the queue is served before they are closed
    /// (`AcceptLoop::close`).
    fn serve_the_queue(&mut self) {
        if self.client == Client::Waits {
            self.client = Client::Served;
        }
    }
}
