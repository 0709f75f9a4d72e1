//! A run's world: servers of its own, proxies between them and the worker, and the hand that breaks things.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::block_in_place;

use super::asks::{Ask, Asks, Kind, PROTECTED, REFUSED_CODE};
use super::plan::{BadAnswer, Fault, Store};
use super::proxy::Proxy;
use crate::support::World;
use crate::support::clock::off_by;
use crate::support::private::{PrivateBroker, PrivatePostgres};

/// What the full disk of a run can still take; every file of a worker is longer.
const FULL_BYTES: u64 = 1;

pub struct Stage {
    pub world: World,
    broker: PrivateBroker,
    database: Option<PrivatePostgres>,
    to_broker: Proxy,
    to_provider: Proxy,
    /// Assets by number, for faults that are for some of them only.
    assets: Vec<String>,
    refused: Vec<String>,
    replicas: usize,
    /// The folder of copies, of all replicas.
    pub store: PathBuf,
    _store: TempDir,
}

impl Stage {
    pub async fn start(store: Store, replicas: usize, asks: &Asks) -> Self {
        let broker = block_in_place(PrivateBroker::start);
        let database = (store == Store::Postgres).then(|| block_in_place(PrivatePostgres::start));
        // Enough steps that no request runs out of them: then only a broken promise can fail one.
        let steps = format!("{}2s", "200ms,".repeat(19));
        let folder = tempfile::tempdir().unwrap();
        let copies = format!("file://{}", folder.path().display());
        let mut world = World::without_worker(
            &broker.url,
            &[
                ("RETRY__WAIT_STEPS", &steps),
                ("PROTECTED", PROTECTED),
                ("PROVIDER__REFUSED_CODES", REFUSED_CODE),
                ("BROKER__DELIVERY_LIMIT", "1000"),
                ("BACKUP__URL", &copies),
                ("BACKUP__TIMEOUT", "3s"),
                ("BACKUP__ALLOW_HTTP", "true"),
                ("BACKUP__ALLOW_HOSTS", "127.0.0.1"),
                ("LOG__LEVEL", "info"),
            ],
        )
        .await;
        let (to_broker, amqp) = Proxy::before(&broker.url).await;
        let (to_provider, http) = Proxy::before(&world.sandbox.url).await;
        world.set("BROKER__URL", &amqp);
        world.set("PROVIDER__BASE_URL", &format!("{}/kyyReactApiServer", http.trim_end_matches('/')));
        world.set("GUARD__HTTP__URL", &format!("{}/jobs/{{asset_id}}", http.trim_end_matches('/')));
        if let Some(database) = &database {
            world.set("LEDGER__URL", &database.url);
        }
        // Else a write past the limit that stands for a full disk would be the worker's end.
        world.launcher = vec!["env".to_owned(), "--ignore-signal=XFSZ".to_owned()];
        world.sandbox.add_all(asks.assets.clone()).await;
        let refused = asks.assets_of(Kind::Refused).into_iter().map(str::to_owned).collect();
        let mut stage = Self {
            world,
            broker,
            database,
            to_broker,
            to_provider,
            assets: asks.assets.clone(),
            refused,
            replicas,
            store: folder.path().to_owned(),
            _store: folder,
        };
        stage.refuse().await;
        stage.world.start_worker().await;
        stage.world.add_replicas(replicas - 1).await;
        // A kill of the broker would lose queues that are younger.
        block_in_place(|| stage.broker.settle());
        stage.world.broker.requests_answered(0).await;
        stage
    }

    /// What the provider never deletes.
    async fn refuse(&self) {
        for asset in &self.refused {
            let answer = json!({"answer": {"status": 200, "body": {"code": REFUSED_CODE, "msg": "not yours"}}});
            self.world.sandbox.fault("delete", asset, 0, answer).await;
        }
    }

    pub async fn publish(&mut self, asks: &[Ask]) {
        for ask in asks {
            let mut headers = FieldTable::default();
            headers.insert("traceparent".into(), AMQPValue::LongString(ask.traceparent.as_str().into()));
            let properties = BasicProperties::default().with_headers(headers);
            self.world.ask_with(ask.body.clone(), properties).await;
        }
    }

    /// Until so many more requests are answered, or the time is over.
    pub async fn until_answered(&self, more: usize, at_most: Duration) {
        let (goal, began) = (self.world.broker.answered() + more, Instant::now());
        while self.world.broker.answered() < goal && began.elapsed() < at_most {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Does it, and undoes it where that takes doing. `pick` chooses among workers.
    pub async fn suffer(&mut self, fault: &Fault, pick: usize) {
        match fault {
            Fault::WorkerKilled => self.world.kill_and_restart_replica(pick % self.replicas).await,
            Fault::WorkerStopped => {
                self.world.stop_worker().await;
                self.world.start_worker().await;
            }
            Fault::BrokerCut => self.to_broker.cut(),
            Fault::BrokerFrozen(time) => frozen(&self.to_broker, *time).await,
            Fault::BrokerSlow(by) => self.to_broker.delay(*by),
            Fault::BrokerStopped => self.broker_away(PrivateBroker::stop).await,
            Fault::BrokerKilled => self.broker_away(PrivateBroker::kill).await,
            Fault::ProviderCut => self.to_provider.cut(),
            Fault::ProviderFrozen(time) => frozen(&self.to_provider, *time).await,
            Fault::ProviderSlow(by) => self.to_provider.delay(*by),
            Fault::AnswersBroken(breaks) => self.to_provider.break_answers(breaks.iter().copied()),
            Fault::AnswersBad(answers) => {
                for bad in answers {
                    self.answer_badly(bad).await;
                }
            }
            Fault::DiskFull(time) => self.disk_full(*time).await,
            Fault::DatabaseStopped => self.database_away(PrivatePostgres::stop),
            Fault::DatabaseKilled => self.database_away(PrivatePostgres::kill),
            Fault::ClockJumped(by) => {
                self.world.environment = off_by(*by);
                self.world.kill_and_restart_replica(pick % self.replicas).await;
            }
        }
    }

    /// The provider does not answer any more, and after some time neither does the broker; then both are back.
    pub async fn both_frozen(&self, before: Duration, together: Duration) {
        self.to_provider.freeze();
        tokio::time::sleep(before).await;
        frozen(&self.to_broker, together).await;
        self.to_provider.thaw();
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

    /// Nothing goes wrong from now on, but what the provider always refuses.
    pub async fn mend(&self) {
        self.to_broker.mend();
        self.to_provider.mend();
        self.world.sandbox.no_faults().await;
        self.refuse().await;
    }
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
