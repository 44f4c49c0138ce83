//! A stack whose layers do not fit fails to compile, with a message that says what to add.
//!
//! The cases in `ui/` are compiled against the library that these tests are linked with. After a
//! change of a message, `UPDATE=1` writes the new ones; read them before you commit them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

#[test]
#[ignore = "the text of errors is the compiler's and changes with it; run by .ci/run"]
fn a_wrong_stack_is_named_by_the_compiler() {
    let libraries = libraries();
    let mut cases: Vec<PathBuf> = fs::read_dir("ui").unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    assert!(!cases.is_empty());
    let mut failures = String::new();
    for case in cases {
        let message = message(&case, &libraries);
        let file = case.with_extension("stderr");
        if env::var_os("UPDATE").is_some() {
            fs::write(&file, &message).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if message != expected {
            failures += &format!("{}: expected:\n{expected}\nbut got:\n{message}\n", case.display());
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// The compiler's message about a case, without the places in the library, which change with each edit.
fn message(case: &Path, libraries: &[PathBuf; 3]) -> String {
    let output = tempfile::tempdir().unwrap();
    let mut compiler = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    // From a folder where the compiler does not find the source of the library, or it would quote it.
    compiler
        .current_dir("ui")
        .args([
            "--edition=2024",
            "--crate-type=bin",
            "--emit=metadata",
            "--diagnostic-width=140",
            "--verbose",
        ])
        .arg("--out-dir")
        .arg(output.path())
        .arg("-L")
        .arg(format!("dependency={}", libraries[0].parent().unwrap().display()))
        .arg(case.file_name().unwrap());
    for (name, library) in ["portcullis", "tokio", "tower"].iter().zip(libraries) {
        compiler.arg("--extern").arg(format!("{name}={}", library.display()));
    }
    let output = compiler.output().unwrap();
    assert!(!output.status.success(), "{} compiles", case.display());
    let text = String::from_utf8(output.stderr).unwrap();
    let mut message = String::new();
    for line in text.lines().take_while(|line| !line.starts_with("error: aborting due to")) {
        match line.split_once(".rs:") {
            Some((file, _)) if file.contains("--> src/") => message += &format!("{file}.rs"),
            _ => message += line,
        }
        message.push('\n');
    }
    message.trim_end().to_owned() + "\n"
}

/// The files of portcullis, tokio and tower, as they were built for these tests.
fn libraries() -> [PathBuf; 3] {
    // A build that has just happened, and prints what it made.
    let build = Command::new(env!("CARGO"))
        .args(["test", "--workspace", "--test", "*", "--no-run", "--quiet", "--message-format=json"])
        .current_dir("..")
        .output()
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let messages = String::from_utf8(build.stdout).unwrap();
    let mut artifacts: Vec<Value> =
        messages.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    artifacts.retain(|artifact| artifact["profile"]["test"] == false);
    ["portcullis", "tokio", "tower"].map(|name| {
        let artifact = artifacts.iter().find(|artifact| artifact["target"]["name"] == name);
        let files = artifact.unwrap_or_else(|| panic!("cargo does not name {name}"))["filenames"].as_array();
        let mut files = files.unwrap().iter().map(|file| PathBuf::from(file.as_str().unwrap()));
        files.find(|file| file.extension().is_some_and(|extension| extension == "rlib")).unwrap()
    })
}
