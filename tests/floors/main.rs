//! Which module may import which: the floors of `src/`, and no circles in the layers.

mod imports;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use imports::Import;

/// The modules of `src/`, from the lowest floor to the highest, as in `docs/architecture.md`.
const FLOORS: [&[&str]; 7] = [
    &["faults", "log", "pid_file", "sys"],
    &["bind", "lifecycle", "metrics"],
    &["handoff", "listener"],
    &["generation"],
    &["control", "http", "listen", "signals", "systemd", "tls"],
    &["builder"],
    &["admin", "config", "hint", "supervisor"],
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

#[test]
fn each_module_has_a_floor() {
    let modules = imports::modules(&workspace().join("src"));
    assert!(modules.len() > 10, "these are not all modules: {modules:?}");
    let without: Vec<_> = modules.into_iter().filter(|module| floor(module).is_none()).collect();
    assert!(without.is_empty(), "on which floor are these? {without:?}");
}

#[test]
fn imports_go_down() {
    let mut upward = BTreeMap::<_, BTreeSet<_>>::new();
    for import in imports::read(&workspace().join("src")) {
        let (Some(from), Some(to)) = (floor(&import.from), floor(&import.to)) else { continue };
        if to > from {
            let line = format!("{} imports {} (floor {to}) from floor {from}", import.file, import.to);
            upward.entry(line).or_default().insert(import.path.join("::"));
        }
    }
    let lines: Vec<_> = upward
        .iter()
        .map(|(line, paths)| {
            format!("{line}: {}", paths.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        })
        .collect();
    assert!(lines.is_empty(), "{} imports go up:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn imports_name_the_module() {
    let mut lines = BTreeSet::new();
    for source in ["src", "layers/src"] {
        let source = workspace().join(source);
        let modules = imports::modules(&source);
        for Import { file, to, .. } in imports::read(&source) {
            // An exported macro has no other path.
            if !modules.contains(&to) && to != "delegate_connection" {
                lines.insert(format!("{file} imports {to} through the crate root"));
            }
        }
    }
    let lines = Vec::from_iter(lines);
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn modules_form_no_circle() {
    for source in ["src", "layers/src"] {
        let imports = imports::read(&workspace().join(source));
        let circles = circles(&imports);
        assert!(circles.is_empty(), "circles in {source}:\n{}", circles.join("\n"));
    }
}

/// The pairs of modules that reach each other, each with the shortest way there and back.
fn circles(imports: &[Import]) -> Vec<String> {
    let mut graph = BTreeMap::<&str, BTreeSet<&str>>::new();
    for import in imports {
        graph.entry(&import.from).or_default().insert(&import.to);
    }
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for start in graph.keys() {
        let Some(circle) = shortest_circle(&graph, start) else { continue };
        if seen.insert(circle.iter().copied().collect::<BTreeSet<_>>()) {
            circles.push(circle.join(" -> "));
        }
    }
    circles
}

/// From a module to itself.
fn shortest_circle<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut reached = BTreeSet::new();
    let mut ways = vec![vec![start]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let Some(next) = graph.get(way[way.len() - 1]) else { continue };
            for &module in next {
                let way = [&way[..], &[module]].concat();
                if module == start {
                    return Some(way);
                }
                if reached.insert(module) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}
