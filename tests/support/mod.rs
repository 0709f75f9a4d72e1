//! What every test needs: a sandbox, a worker that is a real process, and a broker with names of its own.

pub mod amqp;
pub mod backups;
pub mod broker;
pub mod browser;
pub mod certificates;
pub mod clock;
pub mod collector;
pub mod contract;
pub mod history;
pub mod hostile;
pub mod party;
pub mod private;
pub mod process;
pub mod prometheus;
pub mod s3;
pub mod sandbox;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use serde_json::{Value, json};
use tempfile::TempDir;

use broker::Broker;
use clock::Life;
use process::Process;
use sandbox::Sandbox;

/// Longest wait for a condition. Nothing here takes nearly as long; a loaded machine may.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Polls until `condition` gives something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, condition: impl FnMut() -> F) -> T {
    until_within(LIMIT, what, condition).await
}

pub async fn until_within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(began.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The secrets of one test. Nothing the worker prints or serves may hold one.
struct Secrets {
    provider: String,
    registry: String,
}

/// One test's world.
pub struct World {
    pub sandbox: Sandbox,
    pub broker: Broker,
    settings: Vec<(String, String)>,
    /// Of every process, beside the settings.
    pub environment: Vec<(String, String)>,
    /// How far the clocks of workers are ahead, in seconds, from their next start on.
    pub clocks: BTreeMap<usize, i64>,
    /// Every life of a worker so far.
    pub lives: Vec<Life>,
    /// A program and its arguments, to start workers with; it has to become the worker.
    pub launcher: Vec<String>,
    secrets: Secrets,
    worker: Option<Process>,
    /// More workers on the same queue.
    replicas: Vec<Process>,
    runs: u32,
    asked: BTreeSet<String>,
    // Declared last: the processes above write into it.
    pub dir: TempDir,
}

/// A world with the given settings (`SECTION__KEY`) over short waits, and its worker ready.
pub async fn world(settings: &[(&str, &str)]) -> World {
    let url = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
    world_at(&url, settings).await
}

/// The same against another broker.
pub async fn world_at(amqp: &str, settings: &[(&str, &str)]) -> World {
    let mut world = World::without_worker(amqp, settings).await;
    world.start_worker().await;
    world
}

impl World {
    pub async fn without_worker(amqp: &str, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let random = uuid::Uuid::new_v4().simple().to_string();
        let secrets = Secrets { provider: format!("ptok-{random}"), registry: format!("rtok-{random}") };
        let sandbox = Sandbox::start(&secrets.provider, &secrets.registry);
        let broker = Broker::connect(amqp, &format!("t-{random}")).await;
        let ledger = format!("sqlite://{}", dir.path().join("ledger.db").display());
        let mut all: Vec<(String, String)> = [
            ("BROKER__URL", amqp),
            ("BROKER__PREFIX", &broker.prefix),
            ("PROVIDER__BASE_URL", &format!("{}/kyyReactApiServer", sandbox.url)),
            ("PROVIDER__TOKEN", &secrets.provider),
            ("PROVIDER__TIMEOUT", "2s"),
            ("PROVIDER__VERIFY_INTERVAL", "20ms"),
            ("GUARD__HTTP__URL", &format!("{}/jobs/{{asset_id}}", sandbox.url)),
            ("GUARD__HTTP__TOKEN", &secrets.registry),
            ("GUARD__HTTP__TIMEOUT", "2s"),
            ("GUARD__POLL", "300ms"),
            ("RETRY__INITIAL", "10ms"),
            ("RETRY__MAX_INTERVAL", "50ms"),
            ("RETRY__MAX_ELAPSED", "400ms"),
            ("RETRY__WAIT_STEPS", "200ms,400ms"),
            ("LEDGER__URL", &ledger),
            ("HTTP__LISTEN", "127.0.0.1:0"),
            ("LOG__LEVEL", "trace"),
            ("LOG__FORMAT", "json"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        for (key, value) in settings {
            all.retain(|(other, _)| other != key);
            all.push(((*key).to_owned(), (*value).to_owned()));
        }
        Self {
            sandbox,
            broker,
            settings: all,
            environment: Vec::new(),
            clocks: BTreeMap::new(),
            lives: Vec::new(),
            launcher: Vec::new(),
            secrets,
            worker: None,
            replicas: Vec::new(),
            runs: 0,
            asked: BTreeSet::new(),
            dir,
        }
    }

    /// Runs the worker's binary with this world's settings.
    pub fn command(&mut self, command: &str) -> Process {
        self.command_with(&[command])
    }

    pub fn command_with(&mut self, args: &[&str]) -> Process {
        self.command_ahead(args, 0)
    }

    /// The same with a clock that is so many seconds ahead.
    fn command_ahead(&mut self, args: &[&str], ahead_s: i64) -> Process {
        self.runs += 1;
        let settings = self.settings.iter().filter(|(_, value)| value != "unset");
        let settings = settings.map(|(key, value)| (format!("ASSET_ERASER__{key}"), value.clone()));
        let environment = settings.chain(self.environment.clone()).chain(clock::ahead_by(ahead_s)).collect();
        let worker = [env!("CARGO_BIN_EXE_asset-eraser")];
        let line: Vec<&str> =
            self.launcher.iter().map(String::as_str).chain(worker).chain(args.iter().copied()).collect();
        Process::spawn(self.dir.path(), &format!("worker-{}", self.runs), line[0], &line[1..], environment)
    }

    pub async fn start_worker(&mut self) {
        self.start_worker_unready().await;
        self.until_ready(true).await;
    }

    /// One that has to be waited for, or that never gets ready.
    pub async fn start_worker_unready(&mut self) {
        let worker = self.launched(0).await;
        self.worker = Some(worker);
    }

    /// A worker's process, once it listens; its life begins.
    async fn launched(&mut self, replica: usize) -> Process {
        let ahead_s = self.clocks.get(&replica).copied().unwrap_or_default();
        let began_ms = clock::now_ms();
        self.lives.push(Life { replica, began_ms, ended_ms: None, ahead_s });
        let worker = self.command_ahead(&["run"], ahead_s);
        worker.address().await;
        worker
    }

    fn life_ended(&mut self, replica: usize) {
        let now = clock::now_ms();
        let own = self.lives.iter_mut().rev().find(|life| life.replica == replica);
        own.expect("it was started").ended_ms = Some(now);
    }

    /// A setting for what is started from now on.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.retain(|(other, _)| other != key);
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// Takes a setting away again.
    pub fn unset(&mut self, key: &str) {
        self.settings.retain(|(other, _)| other != key);
    }

    pub fn worker(&mut self) -> &mut Process {
        self.worker.as_mut().expect("the worker runs")
    }

    /// SIGKILL.
    pub async fn kill_worker(&mut self) {
        let mut worker = self.worker.take().expect("the worker runs");
        worker.signal(nix::sys::signal::Signal::SIGKILL);
        worker.ended().await;
        self.life_ended(0);
    }

    /// SIGTERM; it has to end well.
    pub async fn stop_worker(&mut self) {
        let worker = self.worker.take().expect("the worker runs");
        stop(worker).await;
        self.life_ended(0);
    }

    async fn start_replica(&mut self, number: usize) -> Process {
        let replica = self.launched(number).await;
        let url = format!("{}/readyz", replica.address().await);
        until("a replica is ready", || async { (sandbox::http_get(&url).await.0 == 200).then_some(()) }).await;
        replica
    }

    pub async fn add_replicas(&mut self, count: usize) {
        for _ in 0..count {
            let replica = self.start_replica(self.replicas.len() + 1).await;
            self.replicas.push(replica);
        }
    }

    /// A replica that need not get ready; its address.
    pub async fn add_replica_unready(&mut self) -> String {
        let replica = self.command("run");
        let address = replica.address().await;
        self.replicas.push(replica);
        address
    }

    /// SIGKILL; number 0 is the first worker.
    pub async fn kill_replica(&mut self, number: usize) {
        if number == 0 {
            return self.kill_worker().await;
        }
        let replica = &mut self.replicas[number - 1];
        replica.signal(nix::sys::signal::Signal::SIGKILL);
        replica.ended().await;
        self.life_ended(number);
    }

    pub async fn kill_and_restart_replica(&mut self, number: usize) {
        self.kill_replica(number).await;
        self.restart_killed(number).await;
    }

    /// SIGKILL for the first so many replicas, none of which outlives another by more than a signal.
    pub async fn kill_and_restart_at_once(&mut self, replicas: usize) {
        for replica in &self.replicas[..replicas - 1] {
            replica.signal(nix::sys::signal::Signal::SIGKILL);
        }
        for number in 0..replicas {
            self.kill_replica(number).await;
        }
        for number in 0..replicas {
            self.restart_killed(number).await;
        }
    }

    async fn restart_killed(&mut self, number: usize) {
        self.start_replica_unready(number).await;
        let url = format!("{}/readyz", self.addresses().await[number]);
        until("a replica is ready", || async { (sandbox::http_get(&url).await.0 == 200).then_some(()) }).await;
    }

    /// Starts one that has ended, and waits until it listens; it need not get ready.
    pub async fn start_replica_unready(&mut self, number: usize) {
        if number == 0 {
            return self.start_worker_unready().await;
        }
        self.replicas[number - 1] = self.launched(number).await;
    }

    /// Waits until the worker's metrics say so.
    pub async fn until_sample(&mut self, series: &str, value: f64) {
        let url = format!("{}/metrics", self.worker().address().await);
        until(&format!("{series} is {value}"), || async {
            let text = sandbox::http_get(&url).await.1;
            let found = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok());
            (found == Some(value)).then_some(())
        })
        .await;
    }

    /// A series of one worker's metrics, or 0 when it is not there.
    pub async fn sample(&self, replica: usize, series: &str) -> f64 {
        let url = format!("{}/metrics", self.addresses().await[replica]);
        let text = sandbox::http_get(&url).await.1;
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or_default()
    }

    /// What `/v1/requests` says of a request.
    pub async fn request(&mut self, request: &str) -> Value {
        serde_json::from_str(&self.get(&format!("/v1/requests/{request}")).await.1).unwrap()
    }

    /// The ledger's URL.
    pub fn ledger(&self) -> &str {
        self.settings.iter().find(|(key, _)| key == "LEDGER__URL").map_or("", |(_, url)| url)
    }

    pub fn provider_token(&self) -> &str {
        &self.secrets.provider
    }

    pub async fn get(&mut self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.worker().address().await);
        sandbox::http_get(&url).await
    }

    /// Waits for `/readyz` to say so, and gives what it says.
    pub async fn until_ready(&mut self, ready: bool) -> Value {
        let url = format!("{}/readyz", self.worker().address().await);
        until(&format!("/readyz says {ready}"), || async {
            let (status, body) = sandbox::http_get(&url).await;
            ((status == 200) == ready).then(|| serde_json::from_str(&body).unwrap())
        })
        .await
    }

    /// Waits for `/readyz` to say something, and gives what it says.
    pub async fn until_ready_says(&mut self, says: impl Fn(&Value) -> bool) -> Value {
        let url = format!("{}/readyz", self.worker().address().await);
        until("/readyz says it", || async {
            let ready: Value = serde_json::from_str(&sandbox::http_get(&url).await.1).unwrap();
            says(&ready).then_some(ready)
        })
        .await
    }

    /// Publishes a request for an asset, which the sandbox gets to know first when `exists`.
    pub async fn ask(&mut self, request: Value) {
        self.ask_with(request, BasicProperties::default()).await;
    }

    pub async fn ask_with(&mut self, request: Value, properties: BasicProperties) {
        if let Some(asset) = request["asset_id"].as_str() {
            self.asked.insert(asset.to_owned());
        }
        self.broker.publish_request(request.to_string().as_bytes(), properties).await;
    }

    /// Makes the asset, asks for its deletion under the request ID `r-<asset>`, and gives the one result.
    pub async fn delete(&mut self, asset: &str) -> Value {
        self.sandbox.add(asset).await;
        self.ask(json!({"request_id": format!("r-{asset}"), "asset_id": asset})).await;
        self.broker.result(&format!("r-{asset}")).await
    }

    pub fn asked_for(&mut self, assets: impl IntoIterator<Item = String>) {
        self.asked.extend(assets);
    }

    /// What the worker printed that was started as number so much.
    pub fn output(&self, run: u32) -> String {
        process::output(self.dir.path(), &format!("worker-{run}"))
    }

    /// The end of every test: queues empty, `dead` messages buried, nothing deleted unasked or in use, every event ID
    /// with one content and as the contract has it, no secret anywhere; then a clean stop.
    pub async fn finish(mut self, dead: u32) {
        self.broker.until_empty(dead).await;
        let calls = self.sandbox.calls().await;
        for call in calls.iter().filter(|call| call["operation"] == "delete") {
            let asset = call["asset"].as_str().unwrap_or_default();
            assert!(self.asked.contains(asset), "deleted unasked: {call}");
            assert_eq!(call["jobs_in_progress"], json!([]), "deleted in use: {call}");
        }
        self.broker.assert_one_event_a_request();
        self.end(dead).await;
    }

    /// The end of a test that looks at calls and events by itself.
    pub async fn end(mut self, dead: u32) {
        self.broker.until_empty(dead).await;
        let metrics = self.get("/metrics").await.1;
        self.no_secret_in(&metrics);
        for seen in self.broker.seen() {
            self.no_secret_in(&seen.text);
            contract::assert_event(&seen.event);
        }
        let ready = self.get("/readyz").await.1;
        self.no_secret_in(&ready);
        self.stop_worker().await;
        for replica in std::mem::take(&mut self.replicas) {
            stop(replica).await;
        }
        for run in 1..=self.runs {
            let printed = self.output(run);
            self.no_secret_in(&printed);
            nothing_unseen_in(&printed);
        }
        self.broker.clean_up().await;
    }

    /// Of every worker.
    pub async fn addresses(&self) -> Vec<String> {
        let mut addresses = Vec::new();
        for worker in self.worker.iter().chain(&self.replicas) {
            addresses.push(worker.address().await);
        }
        addresses
    }

    pub fn no_secret_in(&self, text: &str) {
        let password = self.broker.password();
        let ledger = Some(self.ledger()).filter(|url| url.starts_with("postgres"));
        let ledger = ledger.and_then(|url| url::Url::parse(url).ok());
        let ours = |(key, _): &&(String, String)| {
            matches!(key.as_str(), "HTTP__TOKEN" | "TRACING__OTLP_TOKEN" | "CONSOLE__PASSWORD")
        };
        let tokens = self.settings.iter().filter(ours).map(|(_, token)| token.as_str());
        let bare = [self.secrets.provider.as_str(), &self.secrets.registry];
        for secret in bare.into_iter().chain(tokens).chain(ledger.as_ref().and_then(url::Url::password)) {
            assert!(!text.contains(secret), "a token or a password was printed or served");
        }
        // The usual one is a word like any other, and the user's name: only that one is looked for as in a URL.
        assert!(password == "guest" || !text.contains(&password), "the broker password was printed or served");
        assert!(!text.contains(&format!(":{password}@")), "the broker URL was printed or served");
    }
}

/// What others wrote turns no direction where a person reads it, and hides nothing. Those of ASCII move a progress bar.
pub fn nothing_unseen_in(text: &str) {
    let unseen = text.chars().find(|c| !c.is_ascii() && asset_eraser::text::is_hidden(*c));
    assert_eq!(unseen, None, "{}", text.escape_unicode());
}

async fn stop(mut worker: Process) {
    worker.signal(nix::sys::signal::Signal::SIGTERM);
    let status = worker.ended().await;
    assert!(status.success(), "exit {status}\n{}", worker.output());
}

pub fn outcome(event: &Value) -> (&str, &str) {
    (event["data"]["outcome"].as_str().unwrap_or(""), event["data"]["cause"].as_str().unwrap_or(""))
}

pub fn operations(calls: &[Value]) -> Vec<&str> {
    calls.iter().map(|call| call["operation"].as_str().unwrap_or("")).collect()
}

/// How many `DELETE`s were sent.
pub fn deletes(calls: &[Value]) -> usize {
    operations(calls).iter().filter(|operation| **operation == "delete").count()
}
