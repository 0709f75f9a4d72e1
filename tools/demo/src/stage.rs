//! The sandbox and the worker: found running, or started and stopped again.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use uuid::Uuid;

use super::Result;
use super::broker::Broker;
use super::sandbox::Sandbox;

/// Longest wait for a process to start or to stop.
const LIMIT: Duration = Duration::from_secs(60);

/// The asset that a worker started here must always find.
const CONTROL: &str = "asset-control";

/// The wait queues of a worker started here; the last one is `guard.poll`.
const WAITS: [&str; 4] = ["300ms", "600ms", "1s", "500ms"];

pub struct Stage {
    pub sandbox: Sandbox,
    pub prefix: String,
    worker: String,
    started: Option<Started>,
}

/// What was started for this run.
struct Started {
    worker: Process,
    sandbox: Process,
    // Declared last: the processes write into it.
    dir: TempDir,
}

/// Killed when dropped, so that an error leaves nothing behind.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    pub fn running(sandbox: &str, worker: &str, prefix: &str) -> Self {
        let worker = worker.trim_end_matches('/').to_owned();
        Self { sandbox: Sandbox::new(sandbox), prefix: prefix.to_owned(), worker, started: None }
    }

    pub async fn start(amqp: &str) -> Result<Self> {
        let dir = TempDir::with_prefix("asset-eraser-demo.")?;
        let (token, run) = (Uuid::new_v4().to_string(), Uuid::new_v4().simple().to_string());
        let prefix = format!("demo-{}", &run[..8]);
        let mut sandbox = spawn(dir.path(), "sandbox", &["--token", &token, "--asset", CONTROL], &[])?;
        let url = address(dir.path(), "sandbox", &mut sandbox).await?;
        let settings = [
            ("BROKER__URL", amqp),
            ("BROKER__PREFIX", &prefix),
            ("PROVIDER__BASE_URL", &format!("{url}/kyyReactApiServer")),
            ("PROVIDER__TOKEN", &token),
            ("PROVIDER__VERIFY_INTERVAL", "50ms"),
            ("PROVIDER__CONTROL_ASSET", CONTROL),
            ("GUARD__HTTP__URL", &format!("{url}/jobs/{{asset_id}}")),
            ("GUARD__POLL", WAITS[3]),
            // Short waits, for a person who watches.
            ("RETRY__INITIAL", "50ms"),
            ("RETRY__MAX_ELAPSED", "1s"),
            ("RETRY__WAIT_STEPS", &WAITS[..3].join(",")),
            ("LEDGER__URL", &format!("sqlite://{}", dir.path().join("ledger.db").display())),
            ("BACKUP__URL", &format!("file://{}", dir.path().join("backups").display())),
            ("BACKUP__ALLOW_HTTP", "true"),
            ("BACKUP__ALLOW_HOSTS", "127.0.0.1"),
            ("HTTP__LISTEN", "127.0.0.1:0"),
            ("LOG__FORMAT", "text"),
        ];
        let mut worker = spawn(dir.path(), "asset-eraser", &["run"], &settings)?;
        let address = address(dir.path(), "asset-eraser", &mut worker).await?;
        println!("the sandbox runs at {url}, the worker at {address}");
        let started = Some(Started { worker, sandbox, dir });
        Ok(Self { sandbox: Sandbox::new(&url), prefix, worker: address, started })
    }

    pub async fn until_ready(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let said = match reqwest::get(format!("{}/readyz", self.worker)).await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => answer.text().await?,
                Err(error) => error.to_string(),
            };
            if began.elapsed() > LIMIT {
                return Err(format!("the worker does not get ready: {said}").into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&reqwest::get(format!("{}/metrics", self.worker)).await?.error_for_status()?.text().await?))
    }

    /// Where the worker serves its metrics.
    pub fn worker(&self) -> &str {
        &self.worker
    }

    pub fn show_logs(&self) {
        let Some(started) = &self.started else { return };
        let log = std::fs::read_to_string(started.dir.path().join("asset-eraser.err")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        eprintln!("--- the end of the worker's log:");
        lines[lines.len().saturating_sub(40)..].iter().for_each(|line| eprintln!("{line}"));
    }

    /// Ends what was started here; the worker has to end well.
    pub async fn stop(self, amqp: &str) -> Result<()> {
        let Some(mut started) = self.started else { return Ok(()) };
        for (name, process) in [("worker", &mut started.worker), ("sandbox", &mut started.sandbox)] {
            kill_process(Pid::from_child(&process.0), Signal::TERM)?;
            let began = Instant::now();
            let status = loop {
                if let Some(status) = process.0.try_wait()? {
                    break status;
                }
                if began.elapsed() > LIMIT {
                    return Err(format!("the {name} does not stop").into());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            if !status.success() {
                return Err(format!("the {name} ended with {status}").into());
            }
        }
        Broker::connect(amqp, &self.prefix).await?.clean_up(&WAITS).await
    }
}

/// Beside this program, where Cargo and the image put binaries.
fn program(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    if program.is_file() { Ok(program) } else { Err(format!("{name} is not built. Run `cargo build`.").into()) }
}

fn spawn(dir: &Path, name: &str, args: &[&str], settings: &[(&str, &str)]) -> Result<Process> {
    let mut command = Command::new(program(name)?);
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("ASSET_ERASER")) {
        command.env_remove(key);
    }
    command.envs(settings.iter().map(|(key, value)| (format!("ASSET_ERASER__{key}"), value)));
    let file = |end| File::create(dir.join(format!("{name}.{end}"))).map(Stdio::from);
    let child = command.args(args).stdin(Stdio::null()).stdout(file("out")?).stderr(file("err")?).spawn()?;
    Ok(Process(child))
}

/// The address from its line `listening on http://…`.
async fn address(dir: &Path, name: &str, process: &mut Process) -> Result<String> {
    let began = Instant::now();
    loop {
        let out = std::fs::read_to_string(dir.join(format!("{name}.out")))?;
        let line = out.lines().find_map(|line| line.strip_prefix("listening on "));
        if let Some(address) = line.filter(|_| out.ends_with('\n')) {
            return Ok(address.to_owned());
        }
        if process.0.try_wait()?.is_some() || began.elapsed() > LIMIT {
            let said = std::fs::read_to_string(dir.join(format!("{name}.err")))?;
            return Err(format!("{name} did not start:\n{said}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One reading of `/metrics`.
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        Self(samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// Over all labels.
    pub fn sum(&self, name: &str) -> f64 {
        self.since(None, name).into_iter().map(|(_, value)| value).sum()
    }

    /// Every labelled sample of a counter that grew since an earlier reading, with by how much.
    pub fn since(&self, before: Option<&Self>, name: &str) -> Vec<(String, f64)> {
        let own =
            |series: &&String| series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        let grown = self.0.keys().filter(own).map(|series| {
            let old = before.and_then(|before| before.0.get(series)).copied().unwrap_or_default();
            (series.clone(), self.0[series] - old)
        });
        grown.filter(|(_, value)| *value > 0.0).collect()
    }
}
