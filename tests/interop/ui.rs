//! A stack whose layers do not fit fails to compile, with a message that says what to add.

#[test]
#[ignore = "the text of errors is the compiler's and changes with it; run by .ci/run"]
fn a_wrong_stack_is_named_by_the_compiler() {
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
