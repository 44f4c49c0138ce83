//! The table in `tests/README.md` leads to tests.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_row_has_its_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(tests.join("README.md")).expect("it is there");
    let mut rows = BTreeSet::new();
    for line in table.lines().filter(|line| line.starts_with("| R") || line.starts_with("| T")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, row, _, _, named, _] = cells[..] else { panic!("not a row: {line}") };
        // What is in backticks: a file, or a test in the one before it.
        let mut source = None;
        for name in named.split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                let read = fs::read_to_string(tests.join(name));
                source = Some(read.unwrap_or_else(|error| panic!("{row}: {name}: {error}")));
            } else {
                let there = source.as_ref().is_some_and(|source| source.contains(&format!("fn {name}(")));
                assert!(there, "{row}: there is no test {name}");
            }
        }
        assert!(source.is_some(), "{row} has no test");
        rows.insert(row.to_owned());
    }
    let restarts = (1..=25).map(|number| format!("R{number}"));
    let all: BTreeSet<String> = restarts.chain((1..=11).map(|number| format!("T{number}"))).collect();
    assert_eq!(rows, all);
}
