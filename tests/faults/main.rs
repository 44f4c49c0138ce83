//! What must be survived, R1 to R21: one module for each row that is driven by faults to order (`portcullis::faults`).
//! `tests/README.md` has the whole table, with the rows that other tests keep, and those of TLS.

#[path = "../harness/mod.rs"]
mod harness;

mod line;
mod points;
mod queue;
mod table;
mod takeover;

mod r01_a_successor_that_crashes_changes_nothing;
mod r02_a_successor_that_hangs_is_killed;
mod r04_a_successor_that_fails_on_probation_is_rolled_back;
mod r05_a_successor_goes_on_alone;
mod r07_older_generations_drain;
mod r08_term_at_every_step;
mod r10_listeners_change;
mod r11_wrong_descriptors_are_refused;
mod r12_children_inherit_nothing;
mod r14_a_hundred_restarts;
mod r17_descriptors_run_out;
mod r20_the_pid_file_names_who_serves;
