//! The model is checked exhaustively, and each mistake that an implementation could make is found.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

use stateright::{Checker, HasDiscoveries, Model};

use super::{Candidate, Handoff, Mistake, World};

fn keeps_every_promise(candidate: Candidate) {
    let checker = Handoff { candidate, mistake: None }.checker().spawn_bfs().join();
    checker.assert_properties();
    // What can be reached must be much: a model in which nothing happens keeps every promise.
    assert!(checker.unique_state_count() > 10_000, "{}", checker.unique_state_count());
}

#[test]
fn a_child_succeeds_safely() {
    keeps_every_promise(Candidate::Child);
}

#[test]
fn a_neighbour_takes_over_safely() {
    keeps_every_promise(Candidate::Neighbour);
}

#[test]
fn a_stranger_takes_over_safely() {
    keeps_every_promise(Candidate::Stranger);
}

/// Without it, "in the end" would mean nothing: a run could go in a circle for ever.
fn every_run_ends(candidate: Candidate) {
    let handoff = Handoff { candidate, mistake: None };
    let fingerprint = |world: &World| BuildHasherDefault::<DefaultHasher>::default().hash_one(world);
    // Worlds by their fingerprints, as the checker has them, and whether all that follows is known to end.
    let mut ends: HashMap<u64, bool> = HashMap::new();
    let mut path = Vec::new();
    for world in handoff.init_states() {
        let print = fingerprint(&world);
        ends.insert(print, false);
        path.push((print, handoff.next_states(&world)));
    }
    while let Some((world, next)) = path.last_mut() {
        let Some(following) = next.pop() else {
            ends.insert(*world, true);
            path.pop();
            continue;
        };
        let print = fingerprint(&following);
        match ends.get(&print) {
            Some(true) => {}
            // An event that means nothing in a state leads back to it.
            Some(false) if print == *world => {}
            Some(false) => panic!("a run comes back to {following:#?}"),
            None => {
                ends.insert(print, false);
                path.push((print, handoff.next_states(&following)));
            }
        }
    }
}

#[test]
fn every_run_with_a_child_ends() {
    every_run_ends(Candidate::Child);
}

#[test]
fn every_run_with_a_neighbour_ends() {
    every_run_ends(Candidate::Neighbour);
}

#[test]
fn every_run_with_a_stranger_ends() {
    every_run_ends(Candidate::Stranger);
}

/// A handoff with this mistake breaks this promise.
#[track_caller]
fn is_found(candidate: Candidate, mistake: Mistake, promise: &'static str) {
    let handoff = Handoff { candidate, mistake: Some(mistake) };
    let broken = HasDiscoveries::AnyOf([promise].into());
    let checker = handoff.checker().finish_when(broken).spawn_bfs().join();
    let run = checker.assert_any_discovery(promise);
    println!("{mistake:?}: {:#?}", run.into_actions());
}

/// One test for each mistake: which candidate it happens with, and which promise it breaks.
macro_rules! mistakes {
    ($($test:ident: $mistake:ident with a $candidate:ident breaks $promise:literal;)*) => {$(
        #[test]
        fn $test() {
            is_found(Candidate::$candidate, Mistake::$mistake, $promise);
        }
    )*};
}

mistakes! {
    sockets_given_away_at_the_commit: ClosesAtCommit with a Child breaks "no queue is lost";
    a_close_instead_of_an_abort: ClosesInsteadOfAbort with a Child breaks "a successor that was called off never accepts";
    a_close_instead_of_an_abort_after_the_commit: ClosesInsteadOfAbort with a Stranger breaks "never two accept in the end";
    accepting_again_before_the_kill: AcceptsBeforeTheKill with a Child breaks "never two accept";
    a_commit_before_accepting_has_stopped: CommitsBeforeItStops with a Child breaks "never two accept";
    a_channel_closed_on_a_stranger: DoesNotWaitForAStranger with a Stranger breaks "never two accept";
    insisting_on_serving: InsistsOnServing with a Child breaks "what is told to stop stays stopped";
    a_limit_that_does_not_look_once_more: DoesNotLookOnceMore with a Child breaks "what is told to stop stays stopped";
    a_limit_that_does_not_see_the_commit: DoesNotLookOnceMore with a Child breaks "whoever can accept does";
    a_commit_with_an_abort_behind_it: ObeysTheCommitAtOnce with a Stranger breaks "a commit that was taken back is not obeyed";
    a_commit_with_a_restart_behind_it: InsistsOnTheEnd with a Child breaks "whoever can accept does";
    sockets_handed_over_late: HandsOverLate with a Child breaks "no queue is lost";
    no_promotion: DoesNotPromoteItself with a Child breaks "whoever can accept does";
    accepting_without_a_commit: DoesNotWaitForCommit with a Child breaks "never two accept";
    no_reading_after_settled: StopsReadingAtSettled with a Stranger breaks "never two accept in the end";
    a_channel_closed_before_accepting_has_stopped: ClosesBeforeItStops with a Stranger breaks "never two accept";
    sick_before_accepting_has_stopped: SaysSickFirst with a Child breaks "never two accept";
    serving_although_it_stepped_back: ServesSickAfterAWhile with a Child breaks "never two accept";
    a_probation_left_silently: LeavesProbationSilently with a Child breaks "what is told to stop stays stopped";
    a_request_that_is_not_passed_on: ForgetsTheRequest with a Child breaks "no request for a restart is lost";
}
