//! Processes whose clock tells another time, and when each of them lived.

use std::process::Command;

/// One life of a worker's process, in true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// 0 is the first worker.
    pub replica: usize,
    pub began_ms: i64,
    /// `None` while it runs.
    pub ended_ms: Option<i64>,
    /// How far its clock was ahead of the true time.
    pub ahead_s: i64,
}

pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The environment of a process whose clock is so far ahead; its timers are right.
pub fn ahead_by(seconds: i64) -> Vec<(String, String)> {
    if seconds == 0 {
        return Vec::new();
    }
    let library = std::env::var("LIBFAKETIME").unwrap_or_else(|_| faketime());
    [("LD_PRELOAD", library), ("FAKETIME", format!("{seconds:+}s")), ("DONT_FAKE_MONOTONIC", "1".to_owned())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

/// Debian's library, installed if need be.
fn faketime() -> String {
    let install = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/dev/install.sh");
    let installed = Command::new(install).arg("faketime").status().unwrap();
    assert!(installed.success(), "install.sh faketime: {installed}");
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).expect("it was installed").to_str().unwrap().to_owned()
}
