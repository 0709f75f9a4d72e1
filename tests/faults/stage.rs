//! A run's world: servers of its own, proxies between them and the worker, and the hand that breaks things.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio_postgres::NoTls;

use super::asks::{Ask, Asks, Kind, PROTECTED, REFUSED_CODE};
use super::conditions::{CONTROL, Conditions, INTRUDER, PUBLISHER, WORKER};
use super::plan::{BadAnswer, Fault, Store};
use super::proxy::Proxy;
use crate::refusing_readers::refusing_reader;
use crate::support::clock::now_ms;
use crate::support::party::{Party, add_user, url};
use crate::support::private::{PrivateBroker, PrivatePooler, PrivatePostgres};
use crate::support::s3::{BUCKET, S3};
use crate::support::sandbox::try_text;
use crate::support::{LIMIT, World, until};

/// What the full disk of a run can still take; every file of a worker is longer.
const FULL_BYTES: u64 = 1;
/// The queue that requests with a `reply_to` name.
pub const REPLIES: &str = "replies";
/// The queue that is bound for started events.
pub const STARTED: &str = "started";
/// The broker's setting, in bytes: the least that clients may be told.
const SMALL_FRAMES: &str = "frame_max = 8192\n";
/// How late each look at a slow asset is answered.
const SLOW_MS: u64 = 700;
/// Between two looks whether the brake holds.
const BRAKE_LOOK: Duration = Duration::from_millis(500);
/// A worker goes on so long after a release at the latest.
const RELEASED: Duration = Duration::from_secs(20);

/// When something began and when it had ended, in milliseconds since 1970.
pub type Span = (i64, i64);

pub struct Stage {
    pub world: World,
    broker: PrivateBroker,
    database: Option<PrivatePostgres>,
    /// Follows the database until it takes its place.
    standby: Option<PrivatePostgres>,
    to_broker: Proxy,
    pub to_provider: Proxy,
    to_database: Option<Proxy>,
    /// Between the workers and that proxy.
    pooler: Option<PrivatePooler>,
    /// Assets by number, for faults that are for some of them only.
    assets: Vec<String>,
    refused: Vec<String>,
    slow: Vec<String>,
    replicas: usize,
    conditions: Conditions,
    /// When a fault that interrupts attempts began and ended.
    pub interruptions: Vec<Span>,
    /// Whether the key saw no asset for a while.
    pub emptied: bool,
    /// How often a worker was killed.
    pub kills: usize,
    /// When the brake was released.
    pub releases: Vec<Span>,
    brake_seen: Instant,
    /// The deadline of each request that has one in the future, in milliseconds since 1970.
    pub deadlines: BTreeMap<String, i64>,
    /// The server that keeps copies, in a run with a bucket.
    pub s3: Option<S3>,
    /// The folder of copies, of all replicas.
    pub store: PathBuf,
    _store: TempDir,
}

impl Stage {
    pub async fn start(store: Store, replicas: usize, asks: &Asks, conditions: &Conditions) -> Self {
        let frames = if conditions.small_frames { SMALL_FRAMES } else { "" };
        let broker = block_in_place(|| PrivateBroker::start_with(|_| frames.to_owned()));
        let database = (store == Store::Postgres).then(|| block_in_place(PrivatePostgres::start));
        let folder = tempfile::tempdir().unwrap();
        let mut world = world(&broker, folder.path(), conditions).await;
        let own = worker_url(&broker);
        let to_broker = Proxy::start(&address(&broker.url)).await;
        let to_provider = Proxy::start(&address(&world.sandbox.url)).await;
        let (amqp, http) = (with_port(&own, to_broker.port), with_port(&world.sandbox.url, to_provider.port));
        world.set("BROKER__URL", &amqp);
        world.set("PROVIDER__BASE_URL", &format!("{}/kyyReactApiServer", http.trim_end_matches('/')));
        world.set("GUARD__HTTP__URL", &format!("{}/jobs/{{asset_id}}", http.trim_end_matches('/')));
        let (to_database, pooler) = match &database {
            None => (None, None),
            Some(database) => {
                let proxy = Proxy::start(&address(&database.url)).await;
                let url = with_port(&database.url, proxy.port);
                let pooler = conditions.pooler.then(|| block_in_place(|| pooler(&url)));
                world.set("LEDGER__URL", pooler.as_ref().map_or(&url, |pooler| &pooler.url));
                (Some(proxy), pooler)
            }
        };
        let s3 = if conditions.bucket { Some(bucket(&mut world, folder.path()).await) } else { None };
        world.sandbox.add_all(asks.assets.clone()).await;
        world.sandbox.add(CONTROL).await;
        let named = |kind| asks.assets_of(kind).into_iter().map(str::to_owned).collect();
        let mut stage = Self {
            world,
            broker,
            standby: database.as_ref().filter(|_| conditions.standby).map(|one| block_in_place(|| one.standby(true))),
            database,
            to_broker,
            to_provider,
            to_database,
            pooler,
            assets: asks.assets.clone(),
            refused: named(Kind::Refused),
            slow: named(Kind::Slow),
            replicas,
            conditions: conditions.clone(),
            interruptions: Vec::new(),
            emptied: false,
            kills: 0,
            releases: Vec::new(),
            brake_seen: Instant::now(),
            deadlines: BTreeMap::new(),
            s3,
            store: folder.path().to_owned(),
            _store: folder,
        };
        stage.set_up().await;
        stage
    }

    /// The workers and the queues.
    async fn set_up(&mut self) {
        self.lasting_faults().await;
        self.world.start_worker().await;
        self.world.broker.queue_beside(REPLIES, None).await;
        if self.conditions.started_events {
            self.world.broker.queue_beside(STARTED, Some("event.#")).await;
        }
        if self.conditions.refusing_reader {
            refusing_reader(&self.world, "refusing", "classic", 0).await;
        }
        self.world.add_replicas(self.replicas - 1).await;
        // A kill of the broker would lose queues that are younger.
        block_in_place(|| self.broker.settle());
        self.world.broker.requests_answered(0).await;
    }

    /// What the provider never deletes, and what it is always slow about.
    async fn lasting_faults(&self) {
        for asset in &self.refused {
            let answer = json!({"answer": {"status": 200, "body": {"code": REFUSED_CODE, "msg": "not yours"}}});
            self.world.sandbox.fault("delete", asset, 0, answer).await;
        }
        for asset in &self.slow {
            self.world.sandbox.fault("detail", asset, 0, json!({"delay_ms": SLOW_MS})).await;
        }
    }

    pub async fn publish(&mut self, asks: &[Ask]) {
        for ask in asks {
            let mut headers = FieldTable::default();
            headers.insert("traceparent".into(), AMQPValue::LongString(ask.traceparent.as_str().into()));
            let mut properties = BasicProperties::default().with_headers(headers);
            if ask.kind == Kind::TooLong {
                properties = properties.with_message_id(ask.request_id.as_str().into());
            }
            if ask.reply {
                properties = properties.with_reply_to(self.world.broker.queue(REPLIES).into());
            }
            if ask.kind == Kind::Intruder {
                self.intrude(ask, properties).await;
                continue;
            }
            if self.conditions.publishers {
                properties = properties.with_user_id(PUBLISHER.into());
            }
            let mut body = ask.body.clone();
            if let Some(ms) = ask.deadline_ms {
                let deadline =
                    *self.deadlines.entry(ask.request_id.clone()).or_insert(now_ms() + i64::try_from(ms).unwrap());
                body["deadline"] = json!(Timestamp::from_millisecond(deadline).unwrap());
            }
            self.world.ask_with(body, properties).await;
        }
    }

    /// Publishes as the user who may not ask.
    async fn intrude(&self, ask: &Ask, properties: BasicProperties) {
        let properties = properties.with_user_id(INTRUDER.into()).with_delivery_mode(2);
        let party = Party::connect(&self.broker, INTRUDER).await;
        party.publish(&self.world.broker.prefix, "request", &ask.body, properties).await.unwrap();
    }

    /// Until so many more requests are answered, or the time is over.
    pub async fn until_answered(&mut self, more: usize, at_most: Duration) {
        let (goal, began) = (self.world.broker.answered() + more, Instant::now());
        while self.world.broker.answered() < goal && began.elapsed() < at_most {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.release_brake().await;
        }
    }

    /// Lets the workers go on, if the brake holds. A release counts from its beginning, also when it fails: its answer may
    /// be what was lost.
    pub async fn release_brake(&mut self) {
        if self.conditions.brake.is_none() || self.brake_seen.elapsed() < BRAKE_LOOK {
            return;
        }
        self.brake_seen = Instant::now();
        if !self.is_braked().await {
            return;
        }
        let last = self.releases.last().map_or(i64::MIN, |(_, ended)| *ended);
        let long_ago = now_ms().saturating_sub(last) > i64::try_from(RELEASED.as_millis()).unwrap();
        if long_ago || self.brake_says("status").await.contains("the brake holds") {
            let began = now_ms();
            self.brake_says("release").await;
            self.releases.push((began, now_ms()));
        }
    }

    async fn is_braked(&self) -> bool {
        for address in self.world.addresses().await {
            let said = try_text(&format!("{address}/readyz")).await.unwrap_or_default();
            if said.contains(r#""cause":"brake""#) {
                return true;
            }
        }
        false
    }

    async fn brake_says(&mut self, verb: &str) -> String {
        let confirmed: &[&str] = if verb == "release" { &["--yes"] } else { &[] };
        let mut command = self.world.command_with(&[&["brake", verb], confirmed].concat());
        command.ended().await;
        command.output()
    }

    /// Does it, and undoes it where that takes doing. `pick` chooses among workers.
    pub async fn suffer(&mut self, fault: &Fault, pick: usize) {
        let began = now_ms();
        self.carry_out(fault, pick).await;
        if fault.interrupts() {
            self.interruptions.push((began, now_ms()));
        }
    }

    async fn carry_out(&mut self, fault: &Fault, pick: usize) {
        match fault {
            Fault::WorkerKilled => self.killed(pick % self.replicas).await,
            Fault::WorkerStopped => {
                self.world.stop_worker().await;
                self.started(0).await;
            }
            Fault::CrashLoop(times) => {
                for _ in 0..*times {
                    self.killed(pick % self.replicas).await;
                    tokio::time::sleep(Duration::from_millis(150)).await;
                }
            }
            Fault::ClockJumped(by) => {
                self.world.clocks.insert(pick % self.replicas, *by);
                self.killed(pick % self.replicas).await;
            }
            Fault::BrokerCut => self.to_broker.cut(),
            Fault::BrokerFrozen(time) => frozen(&self.to_broker, *time).await,
            Fault::BrokerSlow(by) => self.to_broker.delay(*by),
            Fault::BrokerStopped => self.broker_away(PrivateBroker::stop).await,
            Fault::BrokerKilled => self.broker_away(PrivateBroker::kill).await,
            Fault::QueuesFull(queues, time) => self.queues_full(queues, *time).await,
            Fault::PermissionTaken(time) => self.permission_taken(*time).await,
            Fault::ProviderCut => self.to_provider.cut(),
            Fault::ProviderFrozen(time) => frozen(&self.to_provider, *time).await,
            Fault::ProviderSlow(by) => self.to_provider.delay(*by),
            Fault::KeyWrong(time) => self.gateway("wrong_key", *time).await,
            Fault::AccountEmpty(time) => {
                self.emptied = true;
                self.gateway("wrong_account", *time).await;
            }
            Fault::AnswersBroken(breaks) => self.to_provider.break_answers(breaks.iter().copied()),
            Fault::AnswersBad(answers) => {
                for bad in answers {
                    self.answer_badly(bad).await;
                }
            }
            Fault::DiskFull(time) => self.disk_full(*time).await,
            Fault::DatabaseStopped => self.database_away(PrivatePostgres::stop),
            Fault::DatabaseKilled => self.database_away(PrivatePostgres::kill),
            Fault::DatabaseFailedOver => self.fail_over(),
            Fault::DatabaseCut => self.database_proxy().cut(),
            Fault::DatabaseFrozen(time) => frozen(self.database_proxy(), *time).await,
            Fault::DatabaseAnswersBroken(breaks) => self.database_proxy().break_answers(breaks.iter().copied()),
        }
    }

    async fn killed(&mut self, replica: usize) {
        // Of a crash loop each crash by itself.
        let began = now_ms();
        self.kills += 1;
        self.world.kill_replica(replica).await;
        self.started(replica).await;
        self.interruptions.push((began, now_ms()));
    }

    /// Starts a worker, and waits until it is ready.
    async fn started(&mut self, replica: usize) {
        self.until_pooled().await;
        self.world.start_replica_unready(replica).await;
        let (began, url) = (Instant::now(), format!("{}/readyz", self.world.addresses().await[replica]));
        while !try_text(&url).await.is_some_and(|said| said.contains(r#""ready":true"#)) {
            assert!(began.elapsed() < LIMIT, "worker {replica} does not get ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.release_brake().await;
        }
    }

    /// The provider does not answer any more, and after some time neither does the broker; then both are back.
    pub async fn both_frozen(&self, before: Duration, together: Duration) {
        self.to_provider.freeze();
        tokio::time::sleep(before).await;
        frozen(&self.to_broker, together).await;
        self.to_provider.thaw();
    }

    async fn queues_full(&self, queues: &str, time: Duration) {
        let pattern = format!(r"^{}\.{queues}", self.world.broker.prefix);
        let policy = ["set_policy", "full", &pattern, r#"{"max-length":1}"#, "--apply-to", "queues"];
        block_in_place(|| self.broker.ctl(&policy));
        tokio::time::sleep(time).await;
        block_in_place(|| self.broker.ctl(&["clear_policy", "full"]));
    }

    async fn gateway(&self, mode: &str, time: Duration) {
        self.world.sandbox.gateway(mode, "").await;
        tokio::time::sleep(time).await;
        self.world.sandbox.gateway("documented", "").await;
    }

    async fn permission_taken(&self, time: Duration) {
        let permit = |write| block_in_place(|| self.broker.ctl(&["set_permissions", WORKER, ".*", write, ".*"]));
        permit("^$");
        block_in_place(|| self.broker.close_connections(WORKER, "it may not write any more"));
        tokio::time::sleep(time).await;
        permit(".*");
    }

    async fn broker_away(&mut self, away: fn(&PrivateBroker)) {
        block_in_place(|| away(&self.broker));
        block_in_place(|| self.broker.start_again());
        self.world.broker.reconnect().await;
        self.world.broker.requests_answered(0).await;
    }

    fn database_away(&self, away: fn(&PrivatePostgres)) {
        let database = self.database.as_ref().expect("the ledger is in PostgreSQL");
        block_in_place(|| away(database));
        block_in_place(|| database.start_again());
    }

    /// Until the pooler has noticed that the database is back: a worker that starts before that is told so, and ends.
    async fn until_pooled(&self) {
        let Some(pooler) = &self.pooler else { return };
        until("the pooler leads to the database", || async {
            let (client, connection) = tokio_postgres::connect(&pooler.url, NoTls).await.ok()?;
            tokio::spawn(connection);
            client.batch_execute("SELECT 1").await.ok()
        })
        .await;
    }

    /// The old server is never reached again: it would take what the new one does not get.
    fn fail_over(&mut self) {
        let standby = self.standby.take().expect("the database fails over once");
        self.database_proxy().freeze();
        block_in_place(|| standby.promote());
        self.database_proxy().lead_to(&address(&standby.url));
        let old = self.database.replace(standby).expect("the ledger is in PostgreSQL");
        block_in_place(|| old.kill());
        self.database_proxy().thaw();
    }

    fn database_proxy(&self) -> &Proxy {
        self.to_database.as_ref().expect("the ledger is in PostgreSQL")
    }

    async fn answer_badly(&self, bad: &BadAnswer) {
        let BadAnswer { operation, parity, times, what } = bad;
        let Some(parity) = parity else {
            return self.world.sandbox.fault(operation, "", *times, what.clone()).await;
        };
        for asset in self.assets.iter().skip(*parity).step_by(2) {
            self.world.sandbox.fault(operation, asset, *times, what.clone()).await;
        }
    }

    async fn disk_full(&mut self, time: Duration) {
        let pid = self.world.worker().pid();
        limit_files(pid, &FULL_BYTES.to_string());
        tokio::time::sleep(time).await;
        limit_files(pid, "unlimited");
    }

    /// Nothing goes wrong from now on, but what lasts.
    pub async fn mend(&self) {
        self.to_broker.mend();
        self.to_provider.mend();
        if let Some(proxy) = &self.to_database {
            proxy.mend();
        }
        self.world.sandbox.no_faults().await;
        self.lasting_faults().await;
    }
}

/// A world with the settings of a run, whose worker is not started yet.
async fn world(broker: &PrivateBroker, store: &Path, conditions: &Conditions) -> World {
    // Enough steps that no request runs out of them: then only a broken promise can fail one.
    let steps = format!("{}2s", "200ms,".repeat(19));
    let copies = format!("file://{}", store.display());
    let mut world = World::without_worker(
        &broker.url,
        &[
            ("RETRY__WAIT_STEPS", &steps),
            ("PROTECTED", PROTECTED),
            ("PROVIDER__REFUSED_CODES", REFUSED_CODE),
            ("BACKUP__URL", &copies),
            ("BACKUP__TIMEOUT", "3s"),
            ("BACKUP__ALLOW_HTTP", "true"),
            ("BACKUP__ALLOW_HOSTS", "127.0.0.1"),
            ("LOG__LEVEL", "info"),
        ],
    )
    .await;
    for (key, value) in conditions.settings() {
        world.set(key, &value);
    }
    // Else a write past the limit that stands for a full disk would be the worker's end.
    world.launcher = vec!["env".to_owned(), "--ignore-signal=XFSZ".to_owned()];
    world
}

/// The broker's URL for the worker, who has a user of its own.
fn worker_url(broker: &PrivateBroker) -> String {
    for user in [WORKER, INTRUDER] {
        block_in_place(|| add_user(broker, user));
        block_in_place(|| broker.ctl(&["set_permissions", "-p", "/", user, ".*", ".*", ".*"]));
    }
    url(broker, WORKER)
}

/// One that asks again soon for a database that was away.
fn pooler(url: &str) -> PrivatePooler {
    PrivatePooler::start_with(url, "session", "server_login_retry = 1")
}

async fn bucket(world: &mut World, folder: &Path) -> S3 {
    let s3 = S3::start(folder).await;
    world.set("BACKUP__URL", &format!("s3://{BUCKET}/some/prefix"));
    world.environment = s3.environment(&s3.secret);
    s3
}

async fn frozen(proxy: &Proxy, time: Duration) {
    proxy.freeze();
    tokio::time::sleep(time).await;
    proxy.thaw();
}

fn limit_files(pid: u32, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let done = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status().unwrap();
    assert!(done.success(), "prlimit {limit}: {done}");
}

fn address(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
}

fn with_port(url: &str, port: u16) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_port(Some(port)).unwrap();
    url.to_string()
}
