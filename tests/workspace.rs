//! `make test` goes on from what `make demo` built.

use std::collections::BTreeSet;
use std::process::Command;

/// Each crate with the features that it is built with, for dependencies of these kinds.
fn crates(kinds: &str) -> BTreeSet<String> {
    let tree = ["tree", "--locked", "--offline", "--prefix", "none", "--format", "{p} with {f}", "--edges", kinds];
    let out = Command::new(env!("CARGO")).args(tree).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    // A crate that was printed before is marked.
    text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// Cargo builds a crate again for another set of features, and everything that uses it.
#[test]
fn tests_build_no_crate_again_that_the_programs_use() {
    let (programs, tests) = (crates("normal,build"), crates("normal,build,dev"));
    assert!(programs.len() > 200, "{programs:#?}");
    let again: Vec<_> = programs.difference(&tests).collect();
    assert!(again.is_empty(), "tests switch on more features of these; name them in tools/features: {again:#?}");
}
