//! From what is written to what is meant: defaults filled in, every rule checked.

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::checks::{DAY, SECOND, address, cleanly_written, from_file, secret, usable_urls, within};
use super::raw::{Raw, RawBroker, RawGuard, RawHttpGuard, RawLedger, RawPostgresGuard, RawProvider, RawRetry};
use super::source::Source;
use super::traces;
use super::{
    BrokerSettings, Concurrency, ConfigError, GuardSettings, HttpGuard, HttpSettings, LedgerSettings, LogFormat,
    LogSettings, PostgresGuard, ProviderSettings, RetrySettings, Settings, WorkerSettings, brief,
};
use super::{answers, backup, console, safety};
use crate::contract::message::AssetId;

/// Longest in-process budget. A delivery is held through several of them, and RabbitMQ closes the channel of one that
/// is held longer than its `consumer_timeout`, 30 minutes by default.
const LONGEST_BUDGET: Duration = Duration::from_secs(120);

pub(super) fn settings(source: &Source, raw: &Raw) -> Result<Settings, ConfigError> {
    let grace = within(source, "worker.grace", raw.worker.grace.0, 25 * SECOND, Duration::ZERO, 3600 * SECOND)?;
    let listen = address(source, "http.listen", raw.http.listen.as_deref().unwrap_or("127.0.0.1:9464"))?;
    let default_format = if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
    let broker = broker(source, &raw.broker)?;
    let retry = retry(source, &raw.retry)?;
    let max_age = retry.max_age;
    Ok(Settings {
        publishers: safety::publishers(source, raw.publishers.allow.0.as_deref(), &broker)?,
        broker,
        provider: provider(source, &raw.provider)?,
        guard: guard(source, &raw.guard)?,
        retry,
        ledger: ledger(source, &raw.ledger, max_age)?,
        worker: WorkerSettings {
            concurrency: concurrency(source, raw)?,
            grace,
            dry_run: raw.worker.dry_run.0.unwrap_or(false),
        },
        http: HttpSettings {
            listen,
            token: secret(source, "http.token", raw.http.token.as_ref(), raw.http.token_file.as_ref())?,
        },
        console: console::console(source, &raw.console)?,
        log: LogSettings {
            format: raw.log.format.unwrap_or(default_format),
            level: raw.log.level.clone().unwrap_or_else(|| "info".to_owned()),
        },
        tracing: traces::tracing(source, &raw.tracing)?,
        brake: safety::brake(source, &raw.brake)?,
        backup: backup::backup(source, &raw.backup)?,
        protected: safety::protected(source, raw.protected.0.as_deref().unwrap_or_default())?,
    })
}

fn concurrency(source: &Source, raw: &Raw) -> Result<Concurrency, ConfigError> {
    let at_once = |key: &str, number: u32| match number {
        1..=1000 => Ok(number as usize),
        _ => Err(source.problem(key, "must be 1 to 1000")),
    };
    match (raw.worker.concurrency.0.flatten(), raw.worker.max_concurrency.0) {
        (Some(_), Some(_)) => {
            Err(source
                .problem("worker.max_concurrency", "is for concurrency = \"adaptive\" only, and that is a number"))
        }
        (Some(fixed), None) => Ok(Concurrency::Fixed(at_once("worker.concurrency", fixed)?)),
        (None, most) => Ok(Concurrency::Adaptive { most: at_once("worker.max_concurrency", most.unwrap_or(512))? }),
    }
}

fn ledger(source: &Source, raw: &RawLedger, max_age: Duration) -> Result<LedgerSettings, ConfigError> {
    let url = secret(source, "ledger.url", raw.url.as_ref(), raw.url_file.as_ref())?;
    let url = url.unwrap_or_else(|| "sqlite://asset-eraser.db".into());
    if url.expose_secret().starts_with("postgres") {
        cleanly_written(source, "ledger.url", &url)?;
    }
    if !is_ledger(url.expose_secret()) {
        let rule = "must be sqlite://FILE, postgres://USER:PASSWORD@HOST/DATABASE or memory:";
        return Err(source.problem("ledger.url", rule));
    }
    let compact_after = raw.compact_after.0;
    // So long a copy of a request may be on its way, and is owed the recorded event.
    if compact_after.is_some_and(|keep| keep < max_age) {
        let rule = format!("must be at least retry.max_age, which is {}", brief(max_age));
        return Err(source.problem("ledger.compact_after", rule));
    }
    Ok(LedgerSettings { url, compact_after })
}

fn is_ledger(url: &str) -> bool {
    let kinds = ["sqlite://", "postgres://", "postgresql://"];
    url == "memory:" || kinds.iter().any(|kind| url.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()))
}

pub(super) fn broker(source: &Source, raw: &RawBroker) -> Result<BrokerSettings, ConfigError> {
    let urls = broker_urls(source, raw)?;
    let prefix = raw.prefix.clone().unwrap_or_else(|| "asset.deletion".to_owned());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if prefix.is_empty() || prefix.len() > 128 || !prefix.bytes().all(plain) {
        return Err(source.problem("broker.prefix", "must be 1 to 128 of A-Z a-z 0-9 . _ -"));
    }
    let delivery_limit = raw.delivery_limit.0.unwrap_or(20);
    if !(1..=1_000_000).contains(&delivery_limit) {
        return Err(source.problem("broker.delivery_limit", "must be 1 to 1000000"));
    }
    if raw.client_cert_file.is_some() != raw.client_key_file.is_some() {
        let key = if raw.client_cert_file.is_some() { "broker.client_key_file" } else { "broker.client_cert_file" };
        return Err(source.problem(key, "client_cert_file and client_key_file belong together"));
    }
    certificates_are_used(source, raw, &urls)?;
    Ok(BrokerSettings {
        urls,
        url_file: raw.url_file.clone(),
        prefix,
        results_queue: raw.results_queue.0.unwrap_or(true),
        started_events: raw.started_events.0.unwrap_or(false),
        delivery_limit,
        ca_file: raw.ca_file.clone(),
        client_cert_file: raw.client_cert_file.clone(),
        client_key_file: raw.client_key_file.clone(),
    })
}

fn broker_urls(source: &Source, raw: &RawBroker) -> Result<Vec<SecretString>, ConfigError> {
    let text = match (&raw.url, &raw.url_file) {
        (Some(_), Some(_)) => {
            return Err(source.problem("broker.url_file", "set either broker.url or broker.url_file, not both"));
        }
        (Some(urls), None) => urls.0.clone(),
        (None, Some(file)) => from_file(source, "broker.url_file", file)?,
        (None, None) => "amqp://guest:guest@127.0.0.1:5672/%2f".into(),
    };
    let key = if raw.url_file.is_some() { "broker.url_file" } else { "broker.url" };
    match usable_urls(text.expose_secret()) {
        Ok(urls) => Ok(urls),
        Err(problem) => Err(source.problem(key, problem)),
    }
}

/// An operator who names a certificate believes the connection to be encrypted.
fn certificates_are_used(source: &Source, raw: &RawBroker, urls: &[SecretString]) -> Result<(), ConfigError> {
    let files = [("broker.ca_file", &raw.ca_file), ("broker.client_cert_file", &raw.client_cert_file)];
    let encrypted = urls.iter().all(|url| url.expose_secret().starts_with("amqps:"));
    match files.iter().find(|(_, file)| file.is_some()) {
        Some((key, _)) if !encrypted => {
            Err(source.problem(key, "is for amqps:// only: with amqp://, as in broker.url, nothing is encrypted"))
        }
        Some(_) | None => Ok(()),
    }
}

fn provider(source: &Source, raw: &RawProvider) -> Result<ProviderSettings, ConfigError> {
    // The address of the provider's documentation.
    let base = raw.base_url.as_deref().unwrap_or("https://zcbservice.aizfw.cn/kyyReactApiServer");
    cleanly_written(source, "provider.base_url", &base.into())?;
    let base_url = Url::parse(base).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    let rule = "must be an http:// or https:// address without user, query and fragment";
    let base_url = base_url.ok_or_else(|| source.problem("provider.base_url", rule))?;
    let token = secret(source, "provider.token", raw.token.as_ref(), raw.token_file.as_ref())?;
    let rule = "is required: set provider.token, or provider.token_file to the path of a file that holds it";
    let token = token.ok_or_else(|| source.problem("provider.token", rule))?;
    let limit = |key, value, default| within(source, key, value, default, Duration::from_millis(1), 300 * SECOND);
    let provider = ProviderSettings {
        base_url,
        token,
        connect_timeout: limit("provider.connect_timeout", raw.connect_timeout.0, 5 * SECOND)?,
        timeout: limit("provider.timeout", raw.timeout.0, 30 * SECOND)?,
        max_rate: max_rate(source, raw.max_rate.0)?,
        confirm_target: raw.confirm_target.0.unwrap_or(true),
        verify: raw.verify.0.unwrap_or(true),
        verify_interval: within(
            source,
            "provider.verify_interval",
            raw.verify_interval.0,
            SECOND / 2,
            Duration::ZERO,
            30 * SECOND,
        )?,
        retry_codes: raw.retry_codes.0.clone().unwrap_or_default(),
        gone_codes: raw.gone_codes.0.clone().unwrap_or_else(|| vec!["-1".to_owned()]),
        refused_codes: raw.refused_codes.0.clone().unwrap_or_default(),
        answers: answers::rules(&raw.answers).map_err(|why| source.problem("provider.answers", why))?,
        max_pause: within(source, "provider.max_pause", raw.max_pause.0, 600 * SECOND, SECOND, DAY)?,
        job_url: job_url(source, raw.job_url.as_deref(), base)?,
        control_asset: control_asset(source, raw.control_asset.as_deref())?,
        control_window: within(source, "provider.control_window", raw.control_window.0, 60 * SECOND, SECOND, DAY)?,
        absent_streak: Some(raw.absent_streak.0.unwrap_or(20)).filter(|streak| *streak > 0),
        verify_url: raw.verify_url.0.unwrap_or(false),
    };
    distinct_codes(source, &provider)?;
    Ok(provider)
}

/// The documented path of a job, or another one of the same server: the key goes with the call.
fn job_url(source: &Source, url: Option<&str>, base: &str) -> Result<String, ConfigError> {
    let url = url.unwrap_or("/v1/result/{job_id}");
    let origin = |text: &str| Url::parse(text).ok().map(|url| url.origin());
    let here = url.starts_with('/') && !url.starts_with("//") || origin(url).is_some_and(|to| Some(to) == origin(base));
    let clean = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains('#');
    if here && clean && url.matches("{job_id}").count() == 1 {
        return Ok(url.to_owned());
    }
    let rule = "must have {job_id} in it once, and be a path after provider.base_url, such as /v1/result/{job_id}, or a URL \
                of the same server, as the key is sent with it";
    Err(source.problem("provider.job_url", rule))
}

fn control_asset(source: &Source, id: Option<&str>) -> Result<Option<AssetId>, ConfigError> {
    let Some(id) = id.filter(|id| !id.is_empty()) else { return Ok(None) };
    let problem = |rule| source.problem("provider.control_asset", format!("must be the ID of an asset: {rule}"));
    AssetId::parse(id).map(Some).map_err(problem)
}

fn max_rate(source: &Source, rate: Option<u32>) -> Result<Option<NonZeroU32>, ConfigError> {
    let Some(rate) = rate else { return Ok(None) };
    let rule = "must be the calls a second that the provider allows, 1 or more";
    NonZeroU32::new(rate).map(Some).ok_or_else(|| source.problem("provider.max_rate", rule))
}

/// Success is `"0"` alone, and a code that means two things would mean whichever is looked at first.
fn distinct_codes(source: &Source, provider: &ProviderSettings) -> Result<(), ConfigError> {
    let lists = [
        ("provider.retry_codes", &provider.retry_codes),
        ("provider.gone_codes", &provider.gone_codes),
        ("provider.refused_codes", &provider.refused_codes),
    ];
    let mut seen = vec!["0"];
    for (key, codes) in lists {
        for code in codes {
            if seen.contains(&code.as_str()) {
                let problem = format!("code {code:?} already means something else; list each code once, and never 0");
                return Err(source.problem(key, problem));
            }
        }
        seen.extend(codes.iter().map(String::as_str));
    }
    Ok(())
}

fn guard(source: &Source, raw: &RawGuard) -> Result<GuardSettings, ConfigError> {
    let http = raw.http.as_ref().map(|raw| http_guard(source, raw)).transpose()?;
    let postgres = raw.postgres.as_ref().map(|raw| postgres_guard(source, raw)).transpose()?;
    let none = raw.none.0.unwrap_or(false);
    match (http.is_some() || postgres.is_some(), none) {
        (true, true) => {
            return Err(source.problem("guard.none", "must not be true while guard.http or guard.postgres is set"));
        }
        (false, false) => {
            let problem = "no source says what is in use: set guard.http.url or guard.postgres.url, or guard.none = true \
                           to delete without asking";
            return Err(source.problem("guard.none", problem));
        }
        (true, false) | (false, true) => {}
    }
    let in_progress = raw.in_progress.0.clone().unwrap_or_else(|| vec!["queued".to_owned(), "processing".to_owned()]);
    Ok(GuardSettings {
        http,
        postgres,
        in_progress,
        confirm_with_provider: raw.confirm_with_provider.0.unwrap_or(false),
        poll: within(source, "guard.poll", raw.poll.0, 30 * SECOND, Duration::from_millis(1), DAY)?,
        none,
    })
}

fn http_guard(source: &Source, raw: &RawHttpGuard) -> Result<HttpGuard, ConfigError> {
    let rule = "must be an http:// or https:// address with {asset_id} in its path or query";
    let url = secret(source, "guard.http.url", raw.url.as_ref(), raw.url_file.as_ref())?.unwrap_or_default();
    cleanly_written(source, "guard.http.url", &url)?;
    let plain = url.expose_secret();
    // As the parser writes the braces in a path and in a query.
    let placed = |url: &Url| {
        url.path().contains("%7Basset_id%7D") || url.query().is_some_and(|query| query.contains("{asset_id}"))
    };
    let usable = Url::parse(plain).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && placed(&url));
    if !usable || !plain.contains("{asset_id}") {
        return Err(source.problem("guard.http.url", rule));
    }
    let timeout = raw.timeout.0;
    Ok(HttpGuard {
        url,
        token: secret(source, "guard.http.token", raw.token.as_ref(), raw.token_file.as_ref())?,
        timeout: within(source, "guard.http.timeout", timeout, 10 * SECOND, Duration::from_millis(1), 300 * SECOND)?,
    })
}

fn postgres_guard(source: &Source, raw: &RawPostgresGuard) -> Result<PostgresGuard, ConfigError> {
    let url = secret(source, "guard.postgres.url", raw.url.as_ref(), raw.url_file.as_ref())?.unwrap_or_default();
    cleanly_written(source, "guard.postgres.url", &url)?;
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.expose_secret().starts_with(scheme)) {
        return Err(source.problem("guard.postgres.url", "must be postgres://USER:PASSWORD@HOST/DATABASE"));
    }
    let query = raw.query.as_deref().unwrap_or_default().trim().trim_end_matches(';').to_owned();
    if !query.contains("$1") {
        let rule = "must be a query that returns id and status of every job that uses the asset $1, such as \
                    SELECT id, status FROM jobs WHERE asset_id = $1";
        return Err(source.problem("guard.postgres.query", rule));
    }
    let (timeout, least) = (raw.timeout.0, Duration::from_millis(1));
    let timeout = within(source, "guard.postgres.timeout", timeout, 10 * SECOND, least, 300 * SECOND)?;
    Ok(PostgresGuard { url, query, allow_standby: raw.allow_standby.0.unwrap_or(false), timeout })
}

fn retry(source: &Source, raw: &RawRetry) -> Result<RetrySettings, ConfigError> {
    let ms = Duration::from_millis(1);
    let steps: Vec<Duration> =
        raw.wait_steps.0.clone().unwrap_or_else(|| [5, 30, 120, 600, 3600].map(Duration::from_secs).to_vec());
    if steps.is_empty() || steps.len() > 20 {
        return Err(source.problem("retry.wait_steps", "must hold 1 to 20 durations"));
    }
    for step in &steps {
        within(source, "retry.wait_steps", Some(*step), *step, ms, DAY)?;
    }
    Ok(RetrySettings {
        initial: within(source, "retry.initial", raw.initial.0, SECOND / 5, ms, LONGEST_BUDGET)?,
        max_interval: within(source, "retry.max_interval", raw.max_interval.0, 5 * SECOND, ms, LONGEST_BUDGET)?,
        max_elapsed: within(source, "retry.max_elapsed", raw.max_elapsed.0, 15 * SECOND, ms, LONGEST_BUDGET)?,
        wait_steps: steps,
        max_age: within(source, "retry.max_age", raw.max_age.0, DAY, ms, 365 * DAY)?,
    })
}
