//! Where the programs are that the tests start: the binaries of this package, which cargo builds before its tests.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The path of a program. `CARGO_BIN_EXE_…` is unset where a test is started without cargo, or by
/// one before 1.94; the programs are one folder above the tests then.
pub fn program(name: &str) -> PathBuf {
    let path = env::var_os(format!("CARGO_BIN_EXE_{name}")).map_or_else(|| beside_tests(name), PathBuf::from);
    assert!(path.is_file(), "the program `{name}` is not built: {} is missing", path.display());
    path
}

/// `target/debug/NAME` for the test `target/debug/deps/TEST`.
fn beside_tests(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    test.parent().and_then(Path::parent).expect("tests are in the target directory").join(name)
}
