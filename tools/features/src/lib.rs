//! No code: `Cargo.toml` names the features of shared crates that only tests switch on.
//!
//! Cargo builds a crate once for each set of its features, and again everything that uses it. With this package among the
//! default members, a build without tests (`make demo`) has the features of the tests, so `make test` goes on from it.
//! `tests/workspace.rs` compares the two and names what is missing here.
