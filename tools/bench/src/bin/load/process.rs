//! A program that was built with the bench, as a process that does not outlive it.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Result, system};

/// Longest wait for a process to start or to stop.
const LIMIT: Duration = Duration::from_secs(60);
/// Lines of its log that are shown when a process ended by itself.
const SHOWN: usize = 20;

pub struct Process {
    child: Child,
    /// Its output, without the ending of the file's name.
    output: PathBuf,
}

impl Process {
    /// Starts it; `settings` are the worker's, as environment variables.
    pub fn spawn(dir: &Path, name: &str, args: &[&str], settings: &[(&str, &str)]) -> Result<Self> {
        let program = program(name)?;
        let output = dir.join(format!("{name}-{}", uuid::Uuid::new_v4().simple()));
        let mut command = Command::new(program);
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("ASSET_ERASER")) {
            command.env_remove(key);
        }
        command.envs(settings.iter().map(|(key, value)| (format!("ASSET_ERASER__{key}"), value)));
        let file = |end| File::create(output.with_extension(end)).map(Stdio::from);
        let child = command.args(args).stdin(Stdio::null()).stdout(file("out")?).stderr(file("err")?).spawn()?;
        Ok(Self { child, output })
    }

    /// The address from its line `listening on http://…`.
    pub async fn address(&mut self) -> Result<String> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            self.runs()?;
            let out = std::fs::read_to_string(self.output.with_extension("out"))?;
            let line = out.lines().find_map(|line| line.strip_prefix("listening on "));
            if let Some(address) = line.filter(|_| out.ends_with('\n')) {
                return Ok(address.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(self.said("does not listen"))
    }

    /// An error with the end of its log when it has ended.
    pub fn runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.said(&format!("ended with {status}"))),
        }
    }

    pub fn cpu(&self) -> Result<f64> {
        system::cpu(self.child.id())
    }

    pub fn peak(&self) -> Result<f64> {
        system::peak(self.child.id())
    }

    /// Asks it to end, and waits until it has. The worker has to end well; the floor just ends.
    pub async fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait()? {
                let by_signal = status.signal() == Some(Signal::TERM.as_raw());
                return if status.success() || by_signal { Ok(()) } else { Err(self.said(&status.to_string())) };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(self.said("does not stop"))
    }

    /// What went wrong, with the end of what it printed.
    pub fn said(&self, problem: &str) -> Box<dyn std::error::Error> {
        let log = std::fs::read_to_string(self.output.with_extension("err")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        let name = self.output.file_name().unwrap_or_default().display();
        format!("{name} {problem}; the end of its log:\n{end}").into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Beside this program, where Cargo puts binaries.
fn program(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    if program.is_file() { Ok(program) } else { Err(format!("{name} is not built. Run `make bench-programs`.").into()) }
}
