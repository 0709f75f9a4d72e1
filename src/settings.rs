//! Settings: file, environment, defaults; validated once, at start. The names are part of the contract.

mod address;
mod answers;
mod backup;
mod broker;
mod checks;
mod console;
pub mod keys;
#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
mod raw;
mod safety;
mod source;
mod traces;
mod validate;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

pub use self::answers::{AnswerMeans, AnswerRule, ProviderOperation, StatusRange};
pub(crate) use self::source::text_of;
pub use self::values::{brief, size};
use crate::contract::message::{AssetId, AssetPattern};

/// Everything the worker can be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// RabbitMQ.
    pub broker: BrokerSettings,
    /// The asset API.
    pub provider: ProviderSettings,
    /// Who knows what is in use.
    pub guard: GuardSettings,
    /// How faults are retried.
    pub retry: RetrySettings,
    /// The memory.
    pub ledger: LedgerSettings,
    /// How much at once.
    pub worker: WorkerSettings,
    /// The HTTP port.
    pub http: HttpSettings,
    /// The pages for people, if they are wanted.
    pub console: Option<ConsoleSettings>,
    /// What is printed.
    pub log: LogSettings,
    /// Where spans are collected, if they are.
    pub tracing: Option<TracingSettings>,
    /// The operator's limit on deletions, if there is one.
    pub brake: Option<BrakeSettings>,
    /// How assets are kept before they are deleted, where that is asked for.
    pub backup: BackupSettings,
    /// Assets that are never deleted, whichever publisher asks.
    pub protected: Vec<AssetPattern>,
    /// Who may ask; all users without.
    pub publishers: Option<PublisherSettings>,
}

/// Who may ask.
#[derive(Clone, Debug)]
pub struct PublisherSettings {
    /// RabbitMQ users.
    pub allow: Vec<String>,
    /// The user of `broker.url`, whose copies tell who published the original. Never one of the others.
    pub own: String,
}

/// An operator's limit on deletions. The same for all workers of one ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrakeSettings {
    /// Most deletions that may begin within the window.
    pub max_deletions: u32,
    /// How far back deletions count.
    pub window: Duration,
}

/// How assets are kept before they are deleted.
#[derive(Clone, Debug)]
pub struct BackupSettings {
    /// Where copies are kept.
    pub store: BackupStore,
    /// Whether the operator has named the store; else it is the folder of the default.
    pub named: bool,
    /// The `reason`s of requests that want a backup although they don't say so.
    pub reasons: Vec<String>,
    /// Largest asset that is kept, in bytes.
    pub max_size: u64,
    /// Longest time for one copy, reading it back included.
    pub timeout: Duration,
    /// Copies at once.
    pub concurrency: usize,
    /// Whether an asset's URL may be `http`.
    pub allow_http: bool,
    /// Hosts of assets' URLs whose addresses need not be public, in lower case.
    pub allow_hosts: Vec<String>,
}

/// Where copies are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupStore {
    /// A folder.
    Folder(PathBuf),
    /// An object store: the URL of a bucket or container, `s3`, `gs` or `az`, and what its keys begin with.
    Bucket(Url),
}

/// RabbitMQ.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// `amqp://` or `amqps://`, at least one, tried in turn; secret as a whole, since they hold the password.
    pub urls: Vec<SecretString>,
    /// The file that the URLs came from, which is read again for each connection.
    pub url_file: Option<PathBuf>,
    /// Name of the exchange, and what every queue name begins with.
    pub prefix: String,
    /// Whether `<prefix>.results` is declared, so that no result is lost while no other queue is bound.
    pub results_queue: bool,
    /// Whether `event.started` is published before the guard is asked.
    pub started_events: bool,
    /// How often in a row a worker may die during a request before the request is answered and buried.
    pub delivery_limit: u32,
    /// PEM file of the CA that signed the broker's certificate.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our certificate.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file of our key.
    pub client_key_file: Option<PathBuf>,
}

/// The asset API.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// What every path is added to.
    pub base_url: Url,
    /// The bearer key.
    pub token: SecretString,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for a whole answer.
    pub timeout: Duration,
    /// Most calls a second, where the operator knows how many are allowed.
    pub max_rate: Option<NonZeroU32>,
    /// Look at the asset before deleting it.
    pub confirm_target: bool,
    /// Look for the asset after deleting it.
    pub verify: bool,
    /// Between two looks that have to agree.
    pub verify_interval: Duration,
    /// Codes that mean "try later".
    pub retry_codes: Vec<String>,
    /// Codes that mean "no such asset".
    pub gone_codes: Vec<String>,
    /// Codes that mean "no".
    pub refused_codes: Vec<String>,
    /// What answers mean, before any other rule; the first that holds counts.
    pub answers: Vec<AnswerRule>,
    /// Longest pause that an answer may ask for.
    pub max_pause: Duration,
    /// Where a job is: has `{job_id}` in it, and is a path after the base URL or a URL of the same server.
    pub job_url: String,
    /// An asset of the operator's own that must always be found.
    pub control_asset: Option<AssetId>,
    /// How long an asset that was found shows that this key finds assets.
    pub control_window: Duration,
    /// How many different assets in a row may be not found, without a control asset, before consuming stops; never without.
    pub absent_streak: Option<u32>,
    /// Ask an asset's own URL after its deletion.
    pub verify_url: bool,
}

/// Who knows what is in use.
#[derive(Clone, Debug)]
pub struct GuardSettings {
    /// A job registry over HTTP.
    pub http: Option<HttpGuard>,
    /// A table of jobs.
    pub postgres: Option<PostgresGuard>,
    /// Job statuses that count as in progress.
    pub in_progress: Vec<String>,
    /// Ask the provider whether a job that the registry lists is really still in progress.
    pub confirm_with_provider: bool,
    /// Between two looks at an asset in use.
    pub poll: Duration,
    /// Says that there is no source, and that nothing keeps an asset in use from being deleted.
    pub none: bool,
}

/// A job registry over HTTP.
#[derive(Clone, Debug)]
pub struct HttpGuard {
    /// A URL with `{asset_id}` in it; secret as a whole, since it may hold a password.
    pub url: SecretString,
    /// The bearer token, if the registry wants one.
    pub token: Option<SecretString>,
    /// Longest wait for a whole answer.
    pub timeout: Duration,
}

/// A table of jobs in `PostgreSQL`.
#[derive(Clone, Debug)]
pub struct PostgresGuard {
    /// `postgres://…`; secret as a whole, since it holds the password.
    pub url: SecretString,
    /// Returns `id` and `status` of every job that uses the asset `$1`.
    pub query: String,
    /// Whether a standby's word is taken, which may not have the newest jobs yet.
    pub allow_standby: bool,
    /// Longest wait for a whole answer.
    pub timeout: Duration,
}

/// How faults are retried.
#[derive(Clone, Debug)]
pub struct RetrySettings {
    /// First in-process wait (upper bound: the wait is random below it).
    pub initial: Duration,
    /// Longest in-process wait.
    pub max_interval: Duration,
    /// Longest time in process before the request is put off.
    pub max_elapsed: Duration,
    /// The wait ladder: one queue each.
    pub wait_steps: Vec<Duration>,
    /// Oldest a request may get before it is answered `failed`.
    pub max_age: Duration,
}

/// The memory.
#[derive(Clone, Debug)]
pub struct LedgerSettings {
    /// `sqlite://FILE`, `postgres://…` or `memory:`; secret as a whole, since it may hold a password.
    pub url: SecretString,
    /// How long after its decision a request becomes a tombstone; never without.
    pub compact_after: Option<Duration>,
}

/// How much at once.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Requests at once.
    pub concurrency: Concurrency,
    /// How long a shutdown waits for what runs.
    pub grace: Duration,
    /// Every request is treated as if it said `dry_run`: nothing is deleted.
    pub dry_run: bool,
}

/// Requests at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// As many as the provider can do with, found out while working.
    Adaptive {
        /// Never more.
        most: usize,
    },
    /// As many as the operator says.
    Fixed(usize),
}

impl Concurrency {
    /// The most that there can ever be.
    #[must_use]
    pub const fn most(self) -> usize {
        match self {
            Self::Adaptive { most } | Self::Fixed(most) => most,
        }
    }
}

/// The HTTP port.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Address and port of `/metrics`, `/livez`, `/readyz` and `/v1`.
    pub listen: SocketAddr,
    /// The bearer token that `/v1` wants, if any.
    pub token: Option<SecretString>,
}

/// The pages for people.
#[derive(Clone, Debug)]
pub struct ConsoleSettings {
    /// Their address and port; `None`: at `/` of the HTTP port.
    pub listen: Option<SocketAddr>,
    /// Who may log in.
    pub user: String,
    /// With which password; as a bearer token it does without the user.
    pub password: SecretString,
}

/// What is printed.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or `tracing` filter directives.
    pub level: String,
}

/// Who collects spans.
#[derive(Clone, Debug)]
pub struct TracingSettings {
    /// Where spans are posted, as OTLP over HTTP.
    pub otlp_endpoint: Url,
    /// The bearer token that the collector wants, if any.
    pub token: Option<SecretString>,
    /// Which part of the traces that begin here is kept, 0 to 1.
    pub sample_ratio: f64,
    /// What the worker is called there.
    pub service_name: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a person.
    Text,
    /// For a machine: one JSON object a line.
    Json,
}

/// What is wrong with the settings: the key, where it was set, and what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("settings file {file}: {problem}")]
    File {
        /// Its path.
        file: String,
        /// Why.
        problem: String,
    },
    /// A key is unknown, or its value is wrong.
    #[error("{key} ({place}): {problem}")]
    Key {
        /// `section.key`.
        key: String,
        /// The file or the environment variable, or that it is set nowhere.
        place: String,
        /// Never quotes a value that could be a secret.
        problem: String,
    },
}

impl Settings {
    /// Reads the file (if any), lays the environment over it, fills in the defaults and checks everything.
    ///
    /// # Errors
    /// The first thing that is wrong, with its key.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let source = source::Source::read(path, environment)?;
        validate::settings(&source, &source.parse()?)
    }

    /// The section `broker` alone, for commands that need no other. The others may be missing, or lack what a worker
    /// needs; a key that there is not is refused all the same.
    ///
    /// # Errors
    /// The first thing that is wrong, with its key.
    pub fn load_broker(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<BrokerSettings, ConfigError> {
        let source = source::Source::read(path, environment)?;
        validate::broker(&source, &source.parse()?.broker)
    }
}

#[cfg(any(test, fuzzing))]
impl Settings {
    /// What these variables say, each `SECTION__KEY` and its value, over the least that a worker needs.
    pub(crate) fn with(set: &[(&str, &str)]) -> Self {
        let least = [("PROVIDER__TOKEN", "x"), ("GUARD__NONE", "true")];
        let all = least.iter().filter(|(key, _)| !set.iter().any(|(other, _)| other == key)).chain(set);
        let all = all.map(|(key, value)| (format!("ASSET_ERASER__{key}"), (*value).to_owned()));
        Self::load(None, all).expect("these settings are valid")
    }
}

/// The settings' variables out of an environment, such as [`std::env::vars_os`].
///
/// # Errors
/// One of them is not UTF-8.
pub fn variables(all: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, ConfigError> {
    source::variables(all)
}

#[cfg(test)]
mod tests;
