//! One side of a handoff, played from a golden transcript: what `tests/restart/protocol.rs` sets against the
//! real library. It shares no code with it.
//!
//! The variable `SCRIPT` says what to play: `FILE:SECTION`. Started with `PORTCULLIS_HANDOFF` it is a successor;
//! otherwise it is a predecessor, which starts the program of `SUCCESSOR` with its own arguments.

mod channel;
mod predecessor;
mod successor;
mod transcript;

fn main() {
    let script = std::env::var("SCRIPT").expect("what to play");
    let (file, section) = script.rsplit_once(':').expect("FILE:SECTION");
    let lines = transcript::read(file.as_ref(), section);
    match std::env::var("PORTCULLIS_HANDOFF") {
        Ok(variable) => successor::play(lines, &variable),
        Err(_) => predecessor::play(lines),
    }
}
