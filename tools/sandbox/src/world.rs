//! What exists: assets, jobs, and the log of calls. Plain data; no HTTP.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use jiff::{Timestamp, tz::Offset};
use serde::Serialize;

use super::capacity::Capacity;
use super::fault::{Faults, Operation};
use super::gateway::Gateway;

/// Calls remembered; the oldest go first. A load test's worth, in some tens of megabytes.
const MAX_CALLS: usize = 100_000;

/// The provider gives times without a zone; its users take them for China Standard Time.
const PROVIDER_OFFSET: Offset = Offset::constant(8);

/// Bytes of an asset that was given no size: some, and no round number.
const USUAL_SIZE: u64 = 10_007;

#[derive(Clone)]
pub struct Asset {
    pub name: String,
    pub kind: String,
    pub status: String,
    pub address: Address,
    /// Bytes of its file.
    pub size: u64,
    pub created: Timestamp,
}

/// What the detail call says of where the bytes are.
#[derive(Clone, Default)]
pub enum Address {
    /// `/files/{asset_id}` of this sandbox.
    #[default]
    Here,
    /// What it was told to say, `null` too.
    Told(Option<String>),
}

impl Asset {
    pub fn new(name: Option<String>, kind: Option<String>) -> Self {
        Self {
            name: name.unwrap_or_else(|| "Sandbox asset".into()),
            kind: kind.unwrap_or_else(|| "Image".into()),
            status: "Active".into(),
            address: Address::Here,
            size: USUAL_SIZE,
            created: Timestamp::now(),
        }
    }

    /// What the detail call says, where `here` is this sandbox's own.
    pub fn url(&self, here: String) -> Option<String> {
        match &self.address {
            Address::Here => Some(here),
            Address::Told(told) => told.clone(),
        }
    }

    /// `2026-03-30 14:21:58`: as the provider writes it, without a zone.
    pub fn create_time(&self) -> String {
        PROVIDER_OFFSET.to_datetime(self.created).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

pub struct Job {
    pub assets: Vec<String>,
    /// What the provider says, and so what is true.
    pub status: String,
    /// What the registry says, when it is behind or ahead of the truth.
    pub registry_status: Option<String>,
    pub created: Timestamp,
}

impl Job {
    /// An unknown status counts as in progress, as it must for the worker.
    fn in_progress(&self) -> bool {
        !matches!(self.status.as_str(), "completed" | "failed")
    }

    pub fn uses(&self, asset: &str) -> bool {
        self.assets.iter().any(|used| used == asset)
    }
}

/// One call to the provider or the registry, as `GET /control/calls` shows it.
#[derive(Clone, Serialize)]
pub struct Call {
    pub seq: u64,
    /// When it arrived, in milliseconds since 1970.
    pub at_ms: i64,
    pub operation: Operation,
    pub method: String,
    /// As it was sent: percent-encoding and query untouched.
    pub path: String,
    pub asset: Option<String>,
    pub job: Option<String>,
    /// `null` while it runs, and for ever when it was hung, cut before an answer, or given up by the client.
    pub status: Option<u16>,
    /// What a whole answer said: `found` or `missing` for a detail call, the code for a `DELETE`. `null` while there is no
    /// answer, for one that is unreadable, and for one without a code, such as a success of the gateway mode `ark`.
    pub answered: Option<String>,
    /// Of a `jobs` call that was answered whole: the jobs that the answer lists and that have not ended.
    pub listed: Option<Vec<String>>,
    /// Jobs that truly used the asset when the call arrived: a `delete` with any is the worker's worst mistake.
    pub jobs_in_progress: Vec<String>,
    pub took_effect: bool,
    /// When it took effect, in milliseconds since 1970: after its arrival where the call is carried out late.
    pub effect_ms: Option<i64>,
    /// Jobs that truly used the asset when the call took effect.
    pub jobs_at_effect: Vec<String>,
    pub traceparent: Option<String>,
    /// Of calls for a file only: who reads one has no business to show a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
}

/// Assets that need no room while they exist: every ID that begins with the prefix is one, until it is deleted.
pub struct Endless {
    pub prefix: String,
    deleted: HashSet<Box<str>>,
}

impl Endless {
    pub fn new(prefix: String) -> Self {
        Self { prefix, deleted: HashSet::new() }
    }

    fn has(&self, id: &str) -> bool {
        id.starts_with(&self.prefix) && !self.deleted.contains(id)
    }
}

#[derive(Default)]
pub struct World {
    pub assets: BTreeMap<String, Asset>,
    /// Deleted ones, so that a `stale` detail call can still describe them.
    pub gone: HashMap<String, Asset>,
    /// Looked at after `assets`, and in no list of them.
    pub endless: Option<Endless>,
    /// Assets that exist, and that a `DELETE` is about to delete.
    leaving: HashSet<String>,
    pub jobs: BTreeMap<String, Job>,
    pub calls: VecDeque<Call>,
    /// Calls are counted, but not kept: at tens of thousands a second the log would be most of the work.
    pub log_off: bool,
    pub faults: Faults,
    pub gateway: Gateway,
    pub capacity: Capacity,
    pub latency_ms: u64,
    made: u32,
    last_seq: u64,
}

impl World {
    /// Logs a call that has just arrived and returns its number.
    pub fn arrived(&mut self, call: impl FnOnce() -> Call) -> u64 {
        self.last_seq += 1;
        if self.log_off {
            return self.last_seq;
        }
        let mut call = call();
        call.seq = self.last_seq;
        if let Some(asset) = &call.asset {
            call.jobs_in_progress = self.jobs_using(asset);
        }
        if self.calls.len() == MAX_CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
        self.last_seq
    }

    /// The jobs in progress that use an asset.
    fn jobs_using(&self, asset: &str) -> Vec<String> {
        let busy = self.jobs.iter().filter(|(_, job)| job.in_progress() && job.uses(asset));
        busy.map(|(id, _)| id.clone()).collect()
    }

    /// Logs that a call has just taken effect, with the jobs that used its asset at that moment.
    pub fn took_effect(&mut self, seq: u64) {
        let asset = self.call(seq).and_then(|call| call.asset.clone());
        let jobs = asset.map(|asset| self.jobs_using(&asset)).unwrap_or_default();
        if let Some(call) = self.call(seq) {
            call.took_effect = true;
            call.effect_ms = Some(Timestamp::now().as_millisecond());
            call.jobs_at_effect = jobs;
        }
    }

    /// The logged call with this number, unless the log was cleared, switched off or has moved on since.
    pub fn call(&mut self, seq: u64) -> Option<&mut Call> {
        let first = self.calls.front()?.seq;
        self.calls.get_mut(usize::try_from(seq.checked_sub(first)?).ok()?)
    }

    /// Numbers in the log have no gaps, so a log that was off begins anew.
    pub fn keep_log(&mut self, keep: bool) {
        if self.log_off && keep {
            self.calls.clear();
        }
        self.log_off = !keep;
    }

    pub fn asset(&self, id: &str) -> Option<Cow<'_, Asset>> {
        let endless = || self.endless.as_ref()?.has(id).then(|| Cow::Owned(Asset::new(None, None)));
        self.assets.get(id).map(Cow::Borrowed).or_else(endless)
    }

    /// An asset that was deleted, as it was.
    pub fn deleted_asset(&self, id: &str) -> Option<Cow<'_, Asset>> {
        let endless = || self.endless.as_ref()?.deleted.contains(id).then(|| Cow::Owned(Asset::new(None, None)));
        self.gone.get(id).map(Cow::Borrowed).or_else(endless)
    }

    /// Marks an asset as about to be deleted; false when it is marked already.
    pub fn leaves(&mut self, id: &str) -> bool {
        self.leaving.insert(id.into())
    }

    pub fn add_asset(&mut self, id: String, asset: Asset) {
        self.gone.remove(&id);
        self.assets.insert(id, asset);
    }

    /// Deletes an asset; false when there was none.
    pub fn delete_asset(&mut self, id: &str) -> bool {
        self.leaving.remove(id);
        // Both, or an asset that was added under an endless prefix would be found again.
        let was_endless = match &mut self.endless {
            Some(endless) if id.starts_with(&endless.prefix) => endless.deleted.insert(id.into()),
            _ => false,
        };
        match self.assets.remove(id) {
            Some(asset) => {
                self.gone.insert(id.into(), asset);
                true
            }
            None => was_endless,
        }
    }

    /// A new ID in the provider's style: `asset-20260330142158-00001`.
    pub fn new_asset_id(&mut self) -> String {
        self.made += 1;
        let now = PROVIDER_OFFSET.to_datetime(Timestamp::now());
        format!("asset-{}-{:05}", now.strftime("%Y%m%d%H%M%S"), self.made)
    }

    pub fn new_job_id(&mut self) -> String {
        self.made += 1;
        format!("video_{:05}", self.made)
    }
}
