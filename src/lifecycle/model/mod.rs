//! The handoff keeps its promises in every order of events.
//!
//! Two processes, each with the [`Machine`] that the program runs, the channel between them, the
//! kernel's queue, and at every step a death, a hang, a signal, a request and each timer. All that
//! is checked here is what surrounds the machine: [`process`] and [`channel`] say what the kernel
//! does, [`perform`] what an effect does, [`promises`] what must hold.
//!
//! Time is not modelled: a limit may end at any moment in which its process waits, so that no
//! promise rests on one limit being longer than another. Hangs, signals, requests and the connection
//! come once each, so every run ends (`every_run_with_a_child_ends`), and what must come to pass is looked for in
//! the states where nothing is left to do ([`World::is_at_rest`]).

mod channel;
mod perform;
mod process;
mod promises;
mod tests;

use stateright::{Model, Property};

use self::{
    channel::{Down, Pipe, Up},
    process::{Condition, Process, Term},
};
use super::machine::{Event, Machine, State};

/// One handoff, from a predecessor that has started its successor.
#[derive(Clone, Copy, Debug)]
struct Handoff {
    candidate: Candidate,
    mistake: Option<Mistake>,
}

/// Which process becomes the successor, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Candidate {
    /// Started by the predecessor: the sockets are in the socketpair before it runs, and it can be
    /// killed.
    Child,
    /// It has connected to the control path, and gets the sockets after its hello. It can be killed.
    Neighbour,
    /// As a neighbour, but in a PID namespace that the predecessor cannot see into: no signal
    /// reaches it.
    Stranger,
}

/// A mistake that an implementation could make. The model must find each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    /// The predecessor gives its sockets away with the commit instead of with `settled`.
    ClosesAtCommit,
    /// The predecessor closes the channel where it should send `abort`.
    ClosesInsteadOfAbort,
    /// The predecessor accepts again as soon as it calls off, and kills afterwards.
    AcceptsBeforeTheKill,
    /// The predecessor commits while its accept loops still run.
    CommitsBeforeItStops,
    /// The predecessor accepts again as soon as it has sent `abort` to a stranger.
    DoesNotWaitForAStranger,
    /// The predecessor takes `settled` for garbage where it waits for `serving`.
    InsistsOnServing,
    /// A limit or an order counts although a message, or the end, lies in the socket.
    DoesNotLookOnceMore,
    /// The successor obeys a commit without a look at what was sent after it.
    ObeysTheCommitAtOnce,
    /// The successor takes a `restart` behind the commit for garbage.
    InsistsOnTheEnd,
    /// The sockets are handed to a child after its hello.
    HandsOverLate,
    /// The successor exits when its predecessor has died.
    DoesNotPromoteItself,
    /// The successor accepts when it is ready.
    DoesNotWaitForCommit,
    /// The successor does not read on after it has sent `settled`.
    StopsReadingAtSettled,
    /// The successor closes the channel when it is called off, and stops accepting afterwards.
    ClosesBeforeItStops,
    /// The successor sends `sick`, and stops accepting afterwards.
    SaysSickFirst,
    /// A sick successor that has stopped accepting goes on if the predecessor does not answer.
    ServesSickAfterAWhile,
    /// A successor that is told to finish in its probation closes the channel without a message.
    LeavesProbationSilently,
    /// A restart that was requested of a predecessor on standby is not passed on.
    ForgetsTheRequest,
}

/// Everything that there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    predecessor: Process,
    successor: Process,
    /// From the predecessor to the successor.
    down: Pipe<Down>,
    /// From the successor to the predecessor.
    up: Pipe<Up>,
    client: Client,
    /// The predecessor called the handoff off before it had committed.
    called_off: bool,
    /// The predecessor has called off, and is about to send `abort`: what the successor sends now
    /// crosses it.
    abort_pending: bool,
    /// The predecessor is to kill the successor.
    kill_pending: bool,
    /// The predecessor has sent `abort` while the successor had not read the commit.
    took_commit_back: bool,
    /// The predecessor has waited long enough for the end of a successor that it called off, or the
    /// successor for a confirmation.
    gave_it_up: bool,
    /// The successor obeyed a TERM when the service was its own: from then on nobody may accept.
    stopped: bool,
    /// A restart was requested of this process, which has remembered it.
    requested: Option<Side>,
    /// A restart was requested.
    asked: bool,
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
enum Side {
    Predecessor,
    Successor,
}

const SIDES: [Side; 2] = [Side::Predecessor, Side::Successor];

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// A process takes a step by itself.
    Step(Side, Step),
    /// Something that may happen to it, or never.
    Fault(Side, Fault),
    /// A client connects.
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It reads the next message, or the end of the channel.
    Read,
    /// Its accept loops follow the phase.
    Follow,
    /// Its machine is given this event.
    On(Event),
    /// It sends its hello.
    Greet,
    /// It has waited long enough for the manifest.
    GiveUp,
    /// It sends `abort` to the successor that it called off.
    Abort,
    /// It kills the successor that it called off.
    Kill,
    /// It obeys the TERM that it was sent.
    Obey,
    /// It accepts the connection that waits.
    Accept,
    /// It was killed, and is gone now.
    Die,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Crash,
    /// It does nothing from here on, and keeps what it has.
    Hang,
    /// It goes on after a hang.
    Wake,
    Term,
    /// A restart is requested of it.
    Request,
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

    /// The events that a machine may be given now without anything that disturbs it.
    fn events(self, world: &World, side: Side) -> Vec<Event> {
        use State::{
            AwaitingCommit, AwaitingReady, AwaitingServing, CallingOff, Draining, Initializing,
            InitializingAlone, Probation, Settled, Standby, SteppedBack, SteppingBack, Stopping, TakingOver,
            Withdrawing,
        };
        let process = world.side(side);
        let Some(machine) = process.machine else { return Vec::new() };
        let stopped = || if process.accepting { Vec::new() } else { vec![Event::LoopsStopped] };
        match machine.state() {
            Initializing | InitializingAlone => vec![Event::Ready],
            AwaitingCommit | AwaitingReady | AwaitingServing | Standby => vec![Event::TimedOut],
            TakingOver if process.accepting => vec![Event::LoopsAccept, Event::TimedOut],
            TakingOver => vec![Event::TimedOut],
            Probation => vec![Event::Healthy],
            // The accept loops may not stop in time.
            SteppingBack | Withdrawing | Stopping => [stopped(), vec![Event::TimedOut]].concat(),
            Settled if machine.restart_remembered() => vec![Event::TimedOut],
            SteppedBack if self.errs(Mistake::ServesSickAfterAWhile) => vec![Event::PredecessorGone],
            CallingOff { .. } if world.abort_pending || world.kill_pending => Vec::new(),
            // It does not wait for ever for a process that does not die, or does not read.
            CallingOff { .. } => vec![Event::SuccessorGone],
            Draining { .. } => vec![Event::Drained],
            _ => Vec::new(),
        }
    }

    /// Whether the process reads its channel now.
    fn reads(self, world: &World, side: Side) -> bool {
        let process = world.side(side);
        let Some(machine) = process.machine else {
            return process.greeted;
        };
        match (side, machine.state()) {
            (Side::Predecessor, State::AwaitingReady | State::AwaitingServing | State::Standby) => true,
            // A stranger's end of the channel is all there is to see of it.
            (Side::Predecessor, State::CallingOff { .. }) => {
                !self.can_kill() && !world.abort_pending && !world.kill_pending
            }
            (Side::Predecessor, _) => false,
            (Side::Successor, State::Settled) => !self.errs(Mistake::StopsReadingAtSettled),
            (Side::Successor, state) => matches!(
                state,
                State::Initializing
                    | State::AwaitingCommit
                    | State::TakingOver
                    | State::Probation
                    | State::SteppingBack
                    | State::SteppedBack
            ),
        }
    }

    /// What processes do if nothing disturbs them.
    fn steps(self, world: &World, actions: &mut Vec<Action>) {
        for side in SIDES {
            let process = world.side(side);
            let mut offer = |step, offered: bool| {
                if offered {
                    actions.push(Action::Step(side, step));
                }
            };
            offer(Step::Die, process.condition == Condition::Killed);
            if process.condition != Condition::Running {
                continue;
            }
            let readable = world.is_readable(side);
            let reads = self.reads(world, side) && readable;
            // What lies in the socket counts before anything else.
            let looks = reads && !self.errs(Mistake::DoesNotLookOnceMore);
            offer(Step::Read, reads);
            offer(Step::Follow, process.accepting != process.shall_accept());
            offer(
                Step::Greet,
                side == Side::Successor && process.machine.is_none() && !process.greeted && !process.left,
            );
            offer(Step::GiveUp, process.machine.is_none() && process.greeted && !process.left && !looks);
            offer(Step::Abort, side == Side::Predecessor && world.abort_pending);
            offer(Step::Kill, side == Side::Predecessor && world.kill_pending);
            offer(Step::Obey, process.term == Term::Sent && !looks);
            offer(Step::Accept, process.accepting && world.client == Client::Waits);
            for event in self.events(world, side) {
                let waits_for_dead = event == Event::SuccessorGone && !self.may_give_up(world);
                offer(Step::On(event), !looks && !waits_for_dead);
            }
        }
    }

    /// Whether a predecessor that has called off may go on now.
    fn may_give_up(self, world: &World) -> bool {
        // A child that was killed dies; to wait for a stranger has a limit.
        world.successor.condition == Condition::Dead
            || world.successor.condition == Condition::Killed
            || !self.can_kill()
    }

    /// What may disturb them.
    fn faults(world: &World, actions: &mut Vec<Action>) {
        for side in SIDES {
            let process = world.side(side);
            let mut offer = |fault, offered: bool| {
                if offered {
                    actions.push(Action::Fault(side, fault));
                }
            };
            let lives = process.lives();
            offer(Fault::Crash, lives);
            offer(Fault::Hang, process.runs() && !process.has_hung);
            offer(Fault::Wake, process.condition == Condition::Hung);
            offer(Fault::Term, lives && process.term == Term::No);
            offer(Fault::Request, process.runs() && process.machine.is_some() && !world.asked);
        }
        if world.successor.runs() && world.successor.state() == Some(State::Probation) {
            actions.push(Action::Fault(Side::Successor, Fault::Sick));
        }
        if world.client == Client::NotYet && world.is_held() {
            actions.push(Action::Connect);
        }
    }
}

impl Model for Handoff {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut down = Pipe::new();
        if self.hands_over_early() {
            down.send(Down::Manifest);
        }
        vec![World {
            predecessor: Process::serving(Machine::new(State::AwaitingReady)),
            successor: Process::starting(),
            down,
            up: Pipe::new(),
            client: Client::NotYet,
            called_off: false,
            abort_pending: false,
            kill_pending: false,
            took_commit_back: false,
            gave_it_up: false,
            stopped: false,
            requested: None,
            asked: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.steps(world, actions);
        Self::faults(world, actions);
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = last.clone();
        match action {
            Action::Connect => next.client = Client::Waits,
            Action::Step(_, Step::Accept) => next.client = Client::Served,
            Action::Step(side, step) => self.step(&mut next, side, step),
            Action::Fault(side, Fault::Request) => {
                next.asked = true;
                self.on(&mut next, side, Event::RestartRequested);
            }
            Action::Fault(side, Fault::Sick) => self.on(&mut next, side, Event::Unhealthy),
            Action::Fault(side, fault) => next.side_mut(side).suffer(fault),
        }
        next.settle_accounts();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::all()
    }
}

impl World {
    fn side(&self, side: Side) -> &Process {
        match side {
            Side::Predecessor => &self.predecessor,
            Side::Successor => &self.successor,
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut Process {
        match side {
            Side::Predecessor => &mut self.predecessor,
            Side::Successor => &mut self.successor,
        }
    }

    fn is_readable(&self, side: Side) -> bool {
        match side {
            Side::Predecessor => self.up.is_readable(),
            Side::Successor => self.down.is_readable(),
        }
    }

    /// Whether no process has anything left to do: so it stays, unless something happens from
    /// outside.
    fn is_at_rest(&self, handoff: Handoff) -> bool {
        let mut steps = Vec::new();
        handoff.steps(self, &mut steps);
        steps.is_empty()
    }

    /// Whether a copy of the listening sockets is open: in a process, or in the channel of one that
    /// can read it.
    fn is_held(&self) -> bool {
        self.predecessor.holds || self.successor.holds || self.down.holds(&Down::Manifest)
    }

    /// What the kernel does after each step: ends of channels close with their processes, and the
    /// queue goes with the last copy of its socket.
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
}
