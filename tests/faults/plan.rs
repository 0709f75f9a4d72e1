//! Which faults a run has, and when: drawn from a seed.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::conditions::Conditions;
use super::proxy::Break;

/// Clocks jump by multiples of this, each time by another one. It is longer than any run, so that a time in the ledger
/// tells which clock has told it.
const JUMP_S: i64 = 600;
/// The most of these, of a worker with a file for its ledger and of a replica.
const SQLITE_JUMPS: i64 = 12;
const POSTGRES_JUMPS: i64 = 18;

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// SIGKILL, and started again.
    WorkerKilled,
    /// SIGTERM, and started again.
    WorkerStopped,
    /// Every connection to the broker is reset.
    BrokerCut,
    /// Nothing passes between worker and broker; then every connection is reset.
    BrokerFrozen(Duration),
    /// Every piece from the broker arrives late.
    BrokerSlow(Duration),
    BrokerStopped,
    /// SIGKILL.
    BrokerKilled,
    /// Queues whose names begin so take one message at most.
    QueuesFull(&'static str, Duration),
    /// The workers may publish nothing, and their connections are closed.
    PermissionTaken(Duration),
    ProviderCut,
    ProviderFrozen(Duration),
    ProviderSlow(Duration),
    /// The provider refuses the key.
    KeyWrong(Duration),
    /// The key sees no asset: the provider says of each that it is missing, and deletes none.
    AccountEmpty(Duration),
    /// Answers that break on their way.
    AnswersBroken(Vec<Break>),
    /// Bad answers of the provider or the job registry itself.
    AnswersBad(Vec<BadAnswer>),
    /// No file of the worker can grow: what a full disk does. (`SQLite` ledger only.)
    DiskFull(Duration),
    /// (`PostgreSQL` ledger only.)
    DatabaseStopped,
    /// SIGKILL. (`PostgreSQL` ledger only.)
    DatabaseKilled,
    /// Every connection to the database is reset. (`PostgreSQL` ledger only.)
    DatabaseCut,
    /// Nothing passes between workers and database; then every connection is reset. (`PostgreSQL` ledger only.)
    DatabaseFrozen(Duration),
    /// Answers of the database that break on their way: what a `COMMIT` did stays unknown. (`PostgreSQL` ledger only.)
    DatabaseAnswersBroken(Vec<Break>),
    /// The database cannot be reached any more, its standby is promoted, and connections lead there. (Once in a run with a
    /// standby.)
    DatabaseFailedOver,
    /// One worker is killed so many times in a row, soon after it is ready.
    CrashLoop(u32),
    /// A worker is killed and comes back with its clock off by so many seconds.
    ClockJumped(i64),
}

/// An order for the sandbox: `times` calls of an operation are answered so.
#[derive(Clone, Debug)]
pub struct BadAnswer {
    pub operation: &'static str,
    /// Any, unless it says one: then only of assets whose number has that remainder by two.
    pub parity: Option<usize>,
    pub times: u32,
    pub what: Value,
}

/// A fault, once so many more requests are answered or that time is over.
#[derive(Clone, Debug)]
pub struct Planned {
    pub answered: usize,
    pub at_most: Duration,
    pub fault: Fault,
}

/// Where the ledger is, and so what can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Sqlite,
    Postgres,
}

impl Fault {
    /// Whether attempts may end in the middle for it. A provider that is in trouble ends none, nor does a queue.
    pub fn interrupts(&self) -> bool {
        let outside =
            matches!(self, Self::QueuesFull(..) | Self::ProviderCut | Self::ProviderFrozen(_) | Self::ProviderSlow(_))
                || matches!(self, Self::KeyWrong(_) | Self::AccountEmpty(_));
        !outside && !matches!(self, Self::AnswersBroken(_) | Self::AnswersBad(_) | Self::BrokerSlow(_))
    }

    /// For counting.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WorkerKilled => "worker killed",
            Self::WorkerStopped => "worker stopped",
            Self::BrokerCut => "broker connections cut",
            Self::BrokerFrozen(_) => "broker connections frozen",
            Self::BrokerSlow(_) => "broker connections slow",
            Self::BrokerStopped => "broker restarted",
            Self::BrokerKilled => "broker killed",
            Self::QueuesFull("dead", _) => "dead queue full",
            Self::QueuesFull(..) => "wait queues full",
            Self::PermissionTaken(_) => "permission taken away",
            Self::ProviderCut => "provider connections cut",
            Self::ProviderFrozen(_) => "provider connections frozen",
            Self::ProviderSlow(_) => "provider connections slow",
            Self::KeyWrong(_) => "key wrong",
            Self::AccountEmpty(_) => "account empty",
            Self::AnswersBroken(_) => "answers broken on their way",
            Self::AnswersBad(_) => "bad answers",
            Self::DiskFull(_) => "disk full",
            Self::DatabaseStopped => "database restarted",
            Self::DatabaseKilled => "database killed",
            Self::DatabaseCut => "database connections cut",
            Self::DatabaseFrozen(_) => "database connections frozen",
            Self::DatabaseAnswersBroken(_) => "database answers broken on their way",
            Self::DatabaseFailedOver => "database failed over",
            Self::CrashLoop(_) => "crash loop",
            Self::ClockJumped(_) => "clock jumped",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnswersBad(bad) => {
                write!(f, "bad answers:")?;
                bad.iter().try_for_each(|bad| write!(f, " {}×{} {}", bad.times, bad.operation, bad.what))
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// `count` faults, spread over a run of `requests`.
pub fn draw(random: &mut Rng, count: usize, requests: usize, store: Store, conditions: &Conditions) -> Vec<Planned> {
    let apart = (requests / (count + 1)).max(1);
    let mut jumps = jumps(random, store, conditions);
    let one = |_| Planned {
        answered: random.usize(0..=apart),
        at_most: Duration::from_millis(random.u64(200..3000)),
        fault: fault(random, store, conditions, &mut jumps),
    };
    let mut plan: Vec<Planned> = (0..count).map(one).collect();
    if conditions.standby {
        let place = random.usize(0..plan.len());
        plan[place].fault = Fault::DatabaseFailedOver;
    }
    // Of each kind of lie the first, as they would add up. An account that is empty is a lie about all assets.
    let mut lies = BTreeSet::new();
    if plan.iter().any(|planned| matches!(planned.fault, Fault::AccountEmpty(_))) {
        lies.extend([0, 1]);
    }
    for planned in &mut plan {
        if let Fault::AnswersBad(bad) = &mut planned.fault {
            bad.retain(|bad| bad.parity.is_none_or(|parity| lies.insert(parity)));
        }
    }
    plan
}

/// Every jump that a clock may make, in the order in which they are made.
fn jumps(random: &mut Rng, store: Store, conditions: &Conditions) -> Vec<i64> {
    let most = match store {
        _ if !conditions.clocks_jump => 0,
        Store::Sqlite => SQLITE_JUMPS,
        Store::Postgres => POSTGRES_JUMPS,
    };
    let mut jumps: Vec<i64> = (-most..=most).filter(|times| *times != 0).map(|times| times * JUMP_S).collect();
    random.shuffle(&mut jumps);
    jumps
}

fn fault(random: &mut Rng, store: Store, conditions: &Conditions, jumps: &mut Vec<i64>) -> Fault {
    let moment = |random: &mut Rng, from: u64, to: u64| Duration::from_millis(random.u64(from..to));
    match random.u32(0..116) {
        108..112 => Fault::KeyWrong(moment(random, 300, 4000)),
        112..116 => Fault::AccountEmpty(moment(random, 300, 4000)),
        100..103 => Fault::QueuesFull("dead", moment(random, 500, 4000)),
        103..106 => Fault::QueuesFull("wait", moment(random, 500, 4000)),
        106..108 => Fault::PermissionTaken(moment(random, 100, 2000)),
        0..12 if conditions.delivery_limit.is_some() => Fault::CrashLoop(random.u32(4..10)),
        0..13 => Fault::WorkerKilled,
        13..17 => Fault::WorkerStopped,
        17..24 => Fault::BrokerCut,
        24..27 => Fault::BrokerFrozen(moment(random, 100, 2500)),
        27..30 => Fault::BrokerSlow(moment(random, 5, 60)),
        30..32 => Fault::BrokerStopped,
        32..34 => Fault::BrokerKilled,
        34..39 => Fault::ProviderCut,
        39..44 => Fault::ProviderFrozen(moment(random, 100, 3000)),
        44..48 => Fault::ProviderSlow(moment(random, 5, 60)),
        48..57 => Fault::AnswersBroken((0..random.usize(1..20)).map(|_| broken(random)).collect()),
        57..80 => Fault::AnswersBad((0..random.usize(1..8)).map(|_| bad(random)).collect()),
        80..87 => jumps.pop().map_or(Fault::WorkerKilled, Fault::ClockJumped),
        _ if store == Store::Sqlite => Fault::DiskFull(moment(random, 100, 2000)),
        87..89 => Fault::DatabaseKilled,
        89..91 => Fault::DatabaseStopped,
        91..94 => Fault::DatabaseCut,
        94..96 => Fault::DatabaseFrozen(moment(random, 100, 2500)),
        _ => Fault::DatabaseAnswersBroken((0..random.usize(1..8)).map(|_| broken(random)).collect()),
    }
}

fn broken(random: &mut Rng) -> Break {
    if random.bool() { Break::Unanswered } else { Break::After(random.usize(1..300)) }
}

/// How the bytes of an asset can come, without that ending a request that wants them kept.
fn bad_file(random: &mut Rng) -> BadAnswer {
    let what = match random.u32(0..8) {
        0 => json!({"answer": {"status": 500}}),
        1 => json!({"answer": {"status": 403, "body": "<Error><Code>AccessDenied</Code></Error>"}}),
        2 => json!({"answer": {"status": 429, "headers": {"retry-after": "1"}}}),
        3 => json!({"cut": "before"}),
        4 => json!({"hang": "before"}),
        5 => json!({"send": {"bytes": random.u32(1..1000)}}),
        6 => json!({"send": {"framing": "chunked", "cut": true}}),
        _ => json!({"send": {"stall_at": random.u32(1..1000)}}),
    };
    BadAnswer { operation: "file", parity: None, times: random.u32(1..8), what }
}

/// One of every kind that a provider or a registry can come up with.
fn bad(random: &mut Rng) -> BadAnswer {
    if random.u32(0..5) == 0 {
        return bad_file(random);
    }
    let operation = ["delete", "detail", "jobs"][random.usize(0..3)];
    let times = random.u32(1..12);
    let plain = |what| BadAnswer { operation, parity: None, times, what };
    let answer = |status: u16, body: Value| json!({"answer": {"status": status, "body": body}});
    match random.u32(0..20) {
        0 => plain(answer(500, json!({"code": "500", "msg": "fault"}))),
        1 => plain(json!({"answer": {"status": 502, "body": "<html>", "took_effect": true}})),
        2 => plain(json!({"answer": {"status": 429, "headers": {"retry-after": "1"}}})),
        3 => plain(json!({"answer": {"status": 503}})),
        4 => plain(json!({"answer": {"status": 200, "body": "{\"code\":", "took_effect": true}})),
        5 => plain(answer(200, json!([]))),
        6 => plain(answer(200, json!({"code": null, "data": {}}))),
        // To a DELETE this would be the lie of 16.
        7 => {
            BadAnswer { operation: "detail", ..plain(answer(200, json!({"code": 0, "data": {"assetId": "another"}}))) }
        }
        8 => plain(answer(404, json!({"code": "-1"}))),
        9 => BadAnswer { times: 1, ..plain(answer(401, json!({}))) },
        10 => plain(json!({"hang": "before"})),
        11 => plain(json!({"hang": "after"})),
        12 => plain(json!({"cut": "before"})),
        13 => plain(json!({"cut": "after"})),
        14 => plain(json!({"cut": "midway"})),
        15 => plain(json!({"delay_ms": random.u64(10..1500)})),
        // One lie about an asset is caught; two are one more than any promise covers. So each kind has assets of its own.
        16 => BadAnswer { operation: "delete", parity: Some(0), times: 1, what: json!({"pretend": true}) },
        17 => {
            let gone = answer(200, json!({"code": -1, "msg": "not found", "data": null}));
            BadAnswer { operation: "detail", parity: Some(1), times: 1, what: gone }
        }
        _ => {
            let what = json!({"late": {"ms": random.u64(50..4000), "hang": random.bool()}});
            BadAnswer { operation: "delete", ..plain(what) }
        }
    }
}
