//! A golden transcript: its form is told in its first lines.

use std::{fs, path::Path};

use serde_json::Value;

pub(crate) struct Line {
    pub(crate) speaker: Speaker,
    /// The text of the frame, byte for byte.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    Predecessor,
    Successor,
}

/// The lines of a section.
pub(crate) fn read(file: &Path, section: &str) -> Vec<Line> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let heading = format!("== {section}");
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let lines: Vec<_> = lines.take_while(|line| !line.starts_with("==")).filter_map(line).collect();
    assert!(!lines.is_empty(), "{} has no section {section:?}", file.display());
    lines
}

fn line(text: &str) -> Option<Line> {
    let (speaker, text) = match text.split_at_checked(2)? {
        ("> ", text) => (Speaker::Predecessor, text),
        ("< ", text) => (Speaker::Successor, text),
        _ => return None,
    };
    Some(Line { speaker, text: text.to_owned() })
}

impl Line {
    pub(crate) fn message(&self) -> Value {
        serde_json::from_str(&self.text).expect("a transcript is JSON")
    }

    /// Whether it is of a version to come, and not to be expected from anybody today.
    pub(crate) fn is_to_come(&self) -> bool {
        kind(&self.message()).starts_with("x_")
    }
}

/// The `type` of a message.
pub(crate) fn kind(message: &Value) -> &str {
    message["type"].as_str().expect("every message has a type")
}

/// Panics unless `heard` has all that protocol 1 has in this place.
pub(crate) fn check(heard: &Value, golden: &Value) {
    match (heard, golden) {
        (Value::Object(heard), Value::Object(golden)) => {
            for (name, golden) in golden.iter().filter(|(name, _)| !name.starts_with("x_")) {
                let value = heard.get(name).unwrap_or_else(|| panic!("{heard:?} has no {name:?}"));
                check(value, golden);
            }
        }
        (Value::Array(heard), Value::Array(golden)) => {
            for heard in heard.iter().filter(|_| !golden.is_empty()) {
                check(heard, &golden[0]);
            }
        }
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_)) => {}
        _ => panic!("{heard} should be as {golden}"),
    }
}
