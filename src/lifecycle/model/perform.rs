//! What a step and an effect do to the world.

use super::{
    Client, Handoff, Mistake, Side, Step, World,
    channel::{Down, Up},
    process::{Condition, Term},
};
use crate::lifecycle::{
    look_behind,
    machine::{Effect, Event, Machine, State},
};

impl Handoff {
    pub(super) fn step(self, world: &mut World, side: Side, step: Step) {
        match (side, step) {
            (_, Step::Follow) => {
                let process = world.side_mut(side);
                process.accepting = process.shall_accept();
                // One that was the first of its line after all has bound by itself.
                process.holds |= process.accepting;
            }
            (_, Step::On(event)) => {
                if event == Event::TimedOut && self.reads(world, side) && world.is_readable(side) {
                    world.side_mut(side).mistaken = true;
                }
                if event == Event::SuccessorGone && !matches!(world.successor.condition, Condition::Dead) {
                    world.gave_it_up = true;
                }
                let state = world.side(side).state();
                if event == Event::TimedOut && matches!(state, Some(State::SteppingBack | State::Withdrawing))
                {
                    // A loop that does not stop in time is not polled. It accepts nothing, and looks
                    // at the phase before it accepts again.
                    world.side_mut(side).accepting = false;
                }
                let settled = state == Some(State::Settled);
                world.gave_it_up |= event == Event::TimedOut && settled;
                self.on(world, side, event);
            }
            (_, Step::Die) => world.side_mut(side).die(),
            (_, Step::Obey) => self.obey(world, side),
            (Side::Predecessor, Step::Read) => self.predecessor_reads(world),
            (Side::Successor, Step::Read) => self.successor_reads(world),
            (Side::Predecessor, Step::Abort) => {
                let committed =
                    matches!(world.predecessor.state(), Some(State::CallingOff { committed: true, .. }));
                world.abort_pending = false;
                world.kill_pending = true;
                world.called_off |= !committed;
                world.took_commit_back |= world.down.holds(&Down::Commit);
                self.abort(world);
                if self.errs(Mistake::DoesNotWaitForAStranger) {
                    world.kill_pending = false;
                    self.on(world, side, Event::SuccessorGone);
                }
            }
            (Side::Predecessor, Step::Kill) => {
                world.kill_pending = false;
                if self.can_kill() && world.successor.lives() {
                    world.successor.condition = Condition::Killed;
                }
            }
            (Side::Successor, Step::Greet) => {
                world.up.send(Up::Hello);
                world.successor.greeted = true;
            }
            (Side::Successor, Step::GiveUp) => leave(world),
            _ => unreachable!("{side:?} does not {step:?}"),
        }
    }

    fn predecessor_reads(self, world: &mut World) {
        let event = match (world.up.read(), world.predecessor.state()) {
            // What it sent before it had read the abort; and the end of a stranger's channel.
            (Some(_), Some(State::CallingOff { .. })) => return,
            (None, Some(State::CallingOff { .. })) => Event::SuccessorGone,
            (Some(Up::Hello), _) => {
                if !self.hands_over_early() {
                    world.down.send(Down::Manifest);
                }
                return;
            }
            (Some(Up::Ready), _) => Event::SuccessorReady,
            (Some(Up::Serving), _) => Event::SuccessorServing,
            (Some(Up::Settled), Some(State::AwaitingServing)) if self.errs(Mistake::InsistsOnServing) => {
                Event::SuccessorFailed
            }
            (Some(Up::Settled), _) => Event::SuccessorSettled,
            (Some(Up::Sick), _) => Event::SuccessorSick,
            (None, _) => Event::SuccessorFailed,
        };
        self.on(world, Side::Predecessor, event);
        if event == Event::SuccessorReady && self.errs(Mistake::CommitsBeforeItStops) {
            self.on(world, Side::Predecessor, Event::LoopsStopped);
        }
    }

    fn successor_reads(self, world: &mut World) {
        let mut message = world.down.read();
        // A commit is obeyed after a look at what was sent behind it.
        if message == Some(Down::Commit) && !self.errs(Mistake::ObeysTheCommitAtOnce) {
            let (counts, next) =
                look_behind(Down::Commit, world.down.read(), |message| *message == Down::Abort);
            message = Some(counts);
            next.into_iter().for_each(|next| world.down.unread(next));
        }
        if world.successor.machine.is_none() {
            match message {
                Some(Down::Manifest) => {
                    world.successor.holds = true;
                    world.successor.machine = Some(Machine::successor());
                }
                // It becomes the first of a line, and binds by itself.
                None if !self.errs(Mistake::DoesNotPromoteItself) => {
                    world.successor.machine = Some(Machine::new(State::InitializingAlone));
                    world.successor.binds = true;
                }
                None => {
                    world.successor.mistaken = true;
                    leave(world);
                }
                _ => leave(world),
            }
            return;
        }
        let alone = matches!(
            world.successor.state(),
            Some(State::Initializing | State::InitializingAlone | State::AwaitingCommit)
        );
        let event = match message {
            Some(Down::Commit) if self.errs(Mistake::InsistsOnTheEnd) && world.down.holds(&Down::Restart) => {
                world.successor.mistaken = true;
                Event::PredecessorFailed
            }
            Some(Down::Commit) => Event::Committed,
            Some(Down::Abort) => Event::Aborted,
            Some(Down::Restart) => Event::RestartPassedOn,
            Some(Down::Manifest) => Event::PredecessorFailed,
            None if alone && self.errs(Mistake::DoesNotPromoteItself) => {
                world.successor.mistaken = true;
                Event::PredecessorFailed
            }
            None => Event::PredecessorGone,
        };
        self.on(world, Side::Successor, event);
        if event == Event::Aborted
            && world.successor.state() == Some(State::Withdrawing)
            && self.errs(Mistake::ClosesBeforeItStops)
        {
            world.up.close_writer();
        }
    }

    fn obey(self, world: &mut World, side: Side) {
        world.side_mut(side).term = Term::Obeyed;
        let Some(machine) = world.side(side).machine else {
            if side == Side::Successor {
                leave(world);
            }
            return;
        };
        let serves =
            matches!(machine.state(), State::TakingOver | State::Probation | State::Settled | State::Serving);
        if side == Side::Successor && serves {
            // The service is told to finish, unless the predecessor has taken it back by now, or is
            // about to: what is sent then crosses the abort, and means nothing any more.
            world.stopped |= !world.down.holds(&Down::Abort) && !world.abort_pending;
        }
        self.on(world, side, Event::DrainRequested);
    }

    /// Gives the machine an event, and performs what it decides.
    pub(super) fn on(self, world: &mut World, side: Side, event: Event) {
        let Some(mut machine) = world.side(side).machine else { return };
        let effects = machine.on(event);
        world.side_mut(side).machine = Some(machine);
        for effect in effects {
            self.perform(world, side, event, effect);
        }
        if side == Side::Successor && event == Event::Unhealthy && self.errs(Mistake::SaysSickFirst) {
            self.on(world, side, Event::LoopsStopped);
        }
        match machine.state() {
            State::Draining { last } => {
                let process = world.side_mut(side);
                process.accepting = false;
                if last && world.client == Client::Waits {
                    world.client = Client::Served;
                }
                world.side_mut(side).holds = false;
                close(world, side);
            }
            State::Exited => {
                world.side_mut(side).holds = false;
                close(world, side);
            }
            _ => {}
        }
    }

    fn perform(self, world: &mut World, side: Side, event: Event, effect: Effect) {
        match effect {
            Effect::SendReady => {
                world.up.send(Up::Ready);
                world.successor.accepting |= self.errs(Mistake::DoesNotWaitForCommit);
            }
            Effect::SendServing => world.up.send(Up::Serving),
            Effect::SendSettled => {
                let silent = event == Event::DrainRequested && self.errs(Mistake::LeavesProbationSilently);
                if !silent {
                    world.up.send(Up::Settled);
                }
            }
            Effect::SendSick => world.up.send(Up::Sick),
            Effect::SendCommit => {
                world.down.send(Down::Commit);
                if self.errs(Mistake::ClosesAtCommit) {
                    world.predecessor.holds = false;
                }
            }
            Effect::CallOff => {
                world.abort_pending = true;
                if self.errs(Mistake::AcceptsBeforeTheKill) {
                    world.predecessor.accepting = true;
                }
            }
            Effect::Dismiss => self.abort(world),
            Effect::Release { pass_on } => {
                if pass_on && !self.errs(Mistake::ForgetsTheRequest) {
                    world.down.send(Down::Restart);
                }
            }
            Effect::Remember => world.requested = Some(side),
            Effect::ClosePredecessor
            | Effect::Confirmed
            | Effect::Prepare
            | Effect::StartSuccessor
            | Effect::ReportSuccess
            | Effect::ReportFailure
            | Effect::Refuse
            | Effect::PublishPidFile
            | Effect::Exit => {}
        }
    }

    fn abort(self, world: &mut World) {
        if self.errs(Mistake::ClosesInsteadOfAbort) {
            world.down.close_writer();
        } else {
            world.down.send(Down::Abort);
        }
    }
}

/// Ends before it had a lifecycle.
fn leave(world: &mut World) {
    world.successor.left = true;
    world.successor.holds = false;
    close(world, Side::Successor);
}

/// Closes its end of the channel.
fn close(world: &mut World, side: Side) {
    match side {
        Side::Predecessor => {
            world.down.close_writer();
            world.up.close_reader();
        }
        Side::Successor => {
            world.up.close_writer();
            world.down.close_reader();
        }
    }
}
