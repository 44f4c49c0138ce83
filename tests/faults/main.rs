//! Faults at certain moments of a restart (`portcullis::faults`). `tests/README.md` has the table of
//! all faults, with the rows that other tests cover.

mod alone;
mod children;
mod crash;
mod descriptors;
mod draining;
mod exhaustion;
mod hang;
mod hundred_restarts;
mod late;
mod line;
mod listeners;
mod panic;
mod pause;
mod pid_file;
mod points;
mod queue;
mod rollback;
mod table;
mod takeover;
mod term;
