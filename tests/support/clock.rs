//! Processes whose clock tells another time.

use std::process::Command;

/// The environment of a process whose clock is off by so many seconds; its timers are right.
pub fn off_by(seconds: i64) -> Vec<(String, String)> {
    let library = std::env::var("LIBFAKETIME").unwrap_or_else(|_| faketime());
    [("LD_PRELOAD", library), ("FAKETIME", format!("{seconds:+}s")), ("DONT_FAKE_MONOTONIC", "1".to_owned())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

/// The path of Debian's library, which is installed if need be.
fn faketime() -> String {
    let install = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/dev/install.sh");
    let installed = Command::new(install).arg("faketime").status().unwrap();
    assert!(installed.success(), "install.sh faketime: {installed}");
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).expect("it was installed").to_str().unwrap().to_owned()
}
