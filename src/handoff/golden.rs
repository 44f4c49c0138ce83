//! Protocol 1 is understood for ever: every line of the golden transcripts is decoded, and loses nothing.

use serde_json::Value;

use super::message::Message;

/// The frames of the transcripts, which say themselves what they are.
fn frames() -> impl Iterator<Item = &'static str> {
    const GOLDEN: [&str; 2] = [
        include_str!("../../tests/golden/protocol-1.transcript"),
        include_str!("../../tests/golden/protocol-1-extended.transcript"),
    ];
    let lines = GOLDEN.into_iter().flat_map(str::lines);
    lines.filter_map(|line| line.strip_prefix("> ").or_else(|| line.strip_prefix("< ")))
}

/// What begins with `x_` is of a version to come, and need not be kept.
fn known(name: &str) -> bool {
    !name.starts_with("x_")
}

/// Whether all of `golden` that protocol 1 has is in `kept`.
fn is_kept(golden: &Value, kept: &Value) -> bool {
    match (golden, kept) {
        (Value::Object(golden), Value::Object(kept)) => golden
            .iter()
            .filter(|(name, _)| known(name))
            .all(|(name, golden)| kept.get(name).is_some_and(|kept| is_kept(golden, kept))),
        (Value::Array(golden), Value::Array(kept)) => {
            golden.len() == kept.len() && golden.iter().zip(kept).all(|(golden, kept)| is_kept(golden, kept))
        }
        (golden, kept) => golden == kept,
    }
}

#[test]
fn every_line_is_understood_and_loses_nothing() {
    for frame in frames() {
        let golden: Value = serde_json::from_str(frame).unwrap();
        let message: Message = serde_json::from_str(frame).unwrap_or_else(|error| panic!("{frame}: {error}"));
        if !golden["type"].as_str().is_some_and(known) {
            assert_eq!(message, Message::Unknown);
            continue;
        }
        assert_ne!(message, Message::Unknown, "{frame}");
        let said = serde_json::to_value(&message).unwrap();
        assert!(is_kept(&golden, &said), "{frame} became {said}");
    }
}

/// A message that is not in the transcripts is one that nobody promises to understand.
#[test]
fn every_message_is_in_the_transcripts() {
    let said: Vec<Message> = frames().map(|frame| serde_json::from_str(frame).unwrap()).collect();
    let all = [
        "hello",
        "manifest",
        "descriptors",
        "claim",
        "ready",
        "commit",
        "serving",
        "settled",
        "sick",
        "abort",
        "restart",
    ];
    for name in all {
        assert!(said.iter().any(|message| message.name() == name), "{name}");
    }
}
