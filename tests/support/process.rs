//! A child process whose output is kept in files, and which does not outlive its test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::until;

pub struct Process {
    child: Child,
    dir: PathBuf,
    name: String,
}

impl Process {
    pub fn spawn(dir: &Path, name: &str, program: &str, args: &[&str], environment: Vec<(String, String)>) -> Self {
        let file = |end: &str| Stdio::from(File::create(dir.join(format!("{name}.{end}"))).unwrap());
        let mut command = Command::new(program);
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("ASSET_ERASER")) {
            command.env_remove(key);
        }
        let child = command
            .args(args)
            .envs(environment)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        Self { child, dir: dir.to_owned(), name: name.to_owned() }
    }

    /// The address from its line `listening on http://…`.
    pub async fn address(&self) -> String {
        self.said("listening on ").await
    }

    /// The rest of its line on standard output that begins so.
    pub async fn said(&self, beginning: &str) -> String {
        until(&format!("{} says {beginning:?}", self.name), || async {
            let out = std::fs::read_to_string(self.dir.join(format!("{}.out", self.name))).unwrap();
            let line = out.lines().find_map(|line| line.strip_prefix(beginning));
            line.filter(|_| out.ends_with('\n')).map(str::to_owned)
        })
        .await
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// The most memory that it has used so far.
    pub fn peak_memory_kib(&self) -> u64 {
        self.peak_memory_kib_so_far().expect("VmHWM")
    }

    /// The same of one that may be about to end: nothing once it has.
    pub fn peak_memory_kib_so_far(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim_end_matches("kB").trim().parse().ok()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let mut poll = || child.try_wait().unwrap();
        let began = std::time::Instant::now();
        loop {
            if let Some(status) = poll() {
                return status;
            }
            assert!(began.elapsed() < super::LIMIT, "{} does not end", self.name);
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// What it printed, without its log.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.dir.join(format!("{}.out", self.name))).unwrap()
    }

    pub fn output(&self) -> String {
        output(&self.dir, &self.name)
    }
}

/// What a process of that name printed.
pub fn output(dir: &Path, name: &str) -> String {
    // No panic: `drop` prints this while a test fails.
    let read = |end| std::fs::read_to_string(dir.join(format!("{name}.{end}")));
    ["out", "err"].map(|end| read(end).unwrap_or_else(|error| format!("{name}.{end}: {error}"))).concat()
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let tail = output.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
            eprintln!("--- {} said:\n{}", self.name, &output[tail..]);
        }
    }
}
