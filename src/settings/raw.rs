//! The settings as written: same names, lenient types (the environment has only text), nothing checked yet.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::LogFormat;
use super::answers::RawAnswers;
use super::values::{AtOnce, Bytes, Codes, Flag, List, Millis, Number, Ratio, Steps, Urls, Wire};

/// All of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) broker: RawBroker,
    pub(super) provider: RawProvider,
    pub(super) guard: RawGuard,
    pub(super) retry: RawRetry,
    pub(super) ledger: RawLedger,
    pub(super) worker: RawWorker,
    pub(super) http: RawHttp,
    pub(super) console: RawConsole,
    pub(super) log: RawLog,
    pub(super) tracing: RawTracing,
    pub(super) brake: RawBrake,
    pub(super) backup: RawBackup,
    pub(super) protected: Wire<List>,
    pub(super) publishers: RawPublishers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTracing {
    pub(super) otlp_endpoint: Option<String>,
    pub(super) otlp_token: Option<SecretString>,
    pub(super) otlp_token_file: Option<PathBuf>,
    pub(super) sample_ratio: Wire<Ratio>,
    pub(super) service_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPublishers {
    pub(super) allow: Wire<List>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBrake {
    pub(super) max_deletions: Wire<Number>,
    pub(super) window: Wire<Millis>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBackup {
    pub(super) url: Option<String>,
    pub(super) reasons: Wire<List>,
    pub(super) max_size: Wire<Bytes>,
    pub(super) timeout: Wire<Millis>,
    pub(super) concurrency: Wire<Number>,
    pub(super) allow_http: Wire<Flag>,
    pub(super) allow_hosts: Wire<List>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBroker {
    pub(super) url: Option<Urls>,
    pub(super) url_file: Option<PathBuf>,
    pub(super) prefix: Option<String>,
    pub(super) results_queue: Wire<Flag>,
    pub(super) started_events: Wire<Flag>,
    pub(super) delivery_limit: Wire<Number>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) client_cert_file: Option<PathBuf>,
    pub(super) client_key_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawProvider {
    pub(super) base_url: Option<String>,
    pub(super) token: Option<SecretString>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) connect_timeout: Wire<Millis>,
    pub(super) timeout: Wire<Millis>,
    pub(super) max_rate: Wire<Number>,
    pub(super) confirm_target: Wire<Flag>,
    pub(super) verify: Wire<Flag>,
    pub(super) verify_interval: Wire<Millis>,
    pub(super) retry_codes: Wire<Codes>,
    pub(super) gone_codes: Wire<Codes>,
    pub(super) refused_codes: Wire<Codes>,
    pub(super) answers: RawAnswers,
    pub(super) max_pause: Wire<Millis>,
    pub(super) job_url: Option<String>,
    pub(super) control_asset: Option<String>,
    pub(super) control_window: Wire<Millis>,
    pub(super) absent_streak: Wire<Number>,
    pub(super) verify_url: Wire<Flag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawGuard {
    pub(super) http: Option<RawHttpGuard>,
    pub(super) postgres: Option<RawPostgresGuard>,
    pub(super) in_progress: Wire<List>,
    pub(super) confirm_with_provider: Wire<Flag>,
    pub(super) poll: Wire<Millis>,
    pub(super) none: Wire<Flag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawHttpGuard {
    pub(super) url: Option<SecretString>,
    pub(super) url_file: Option<PathBuf>,
    pub(super) token: Option<SecretString>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) timeout: Wire<Millis>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPostgresGuard {
    pub(super) url: Option<SecretString>,
    pub(super) url_file: Option<PathBuf>,
    pub(super) query: Option<String>,
    pub(super) allow_standby: Wire<Flag>,
    pub(super) timeout: Wire<Millis>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRetry {
    pub(super) initial: Wire<Millis>,
    pub(super) max_interval: Wire<Millis>,
    pub(super) max_elapsed: Wire<Millis>,
    pub(super) wait_steps: Wire<Steps>,
    pub(super) max_age: Wire<Millis>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLedger {
    pub(super) url: Option<SecretString>,
    pub(super) url_file: Option<PathBuf>,
    pub(super) compact_after: Wire<Millis>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawWorker {
    pub(super) concurrency: Wire<AtOnce>,
    pub(super) max_concurrency: Wire<Number>,
    pub(super) grace: Wire<Millis>,
    pub(super) dry_run: Wire<Flag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawHttp {
    pub(super) listen: Option<String>,
    pub(super) token: Option<SecretString>,
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConsole {
    pub(super) enabled: Wire<Flag>,
    pub(super) listen: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) password_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<String>,
}
