//! The door through which the fuzzer (`fuzz/`) and the replay of its corpus get at what reads bytes from outside. Each
//! function takes any input, and panics when something does not hold that has to hold for every one. Not part of the
//! library: compiled for tests and fuzzers only.

/// A message from the broker.
pub fn request(input: &[u8]) {
    crate::contract::message::oracle::request(input);
}

/// The properties of a message, as they come over the wire.
pub fn properties(input: &[u8]) {
    crate::neighbours::broker::oracle::properties(input);
}

/// An answer of the provider.
pub fn envelope(input: &[u8]) {
    crate::neighbours::provider::oracle::envelope(input);
}

/// An answer of the job registry.
pub fn registry(input: &[u8]) {
    crate::neighbours::guard::oracle::registry(input);
}

/// A settings file and variables.
pub fn settings(input: &[u8]) {
    crate::settings::oracle::settings(input);
}

#[cfg(test)]
mod tests;
