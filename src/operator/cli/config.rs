//! `asset-eraser config`: the effective settings, secrets hidden.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use toml::{Table, Value};
use url::Url;

use crate::settings::{self, BackupStore, Concurrency, LogFormat, Settings, TracingSettings, brief, size};

/// What stands for a secret.
const HIDDEN: &str = "***";

/// The settings as TOML that `--config` would take, were it not for the hidden secrets.
#[must_use]
pub fn print(settings: &Settings) -> String {
    let Settings {
        broker,
        provider,
        guard,
        retry,
        ledger,
        worker,
        http,
        console,
        log,
        tracing,
        brake,
        backup,
        protected,
        publishers,
    } = settings;
    let retry = section(vec![
        ("initial", time(retry.initial)),
        ("max_interval", time(retry.max_interval)),
        ("max_elapsed", time(retry.max_elapsed)),
        ("wait_steps", Value::Array(retry.wait_steps.iter().map(|step| time(*step)).collect())),
        ("max_age", time(retry.max_age)),
    ]);
    let number = |number: usize| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
    let mut worker_table = section(vec![("grace", time(worker.grace)), ("dry_run", worker.dry_run.into())]);
    worker_table.extend(match worker.concurrency {
        Concurrency::Fixed(at_once) => section(vec![("concurrency", number(at_once))]),
        Concurrency::Adaptive { most } => {
            section(vec![("concurrency", "adaptive".into()), ("max_concurrency", number(most))])
        }
    });
    let format = match log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let mut http_table = section(vec![("listen", http.listen.to_string().into())]);
    http_table.extend(http.token.as_ref().map(|_| ("token".to_owned(), HIDDEN.into())));
    let mut ledger_table = section(vec![("url", shown_ledger(&ledger.url).into())]);
    ledger_table.extend(ledger.compact_after.map(|keep| ("compact_after".to_owned(), time(keep))));
    let all = [
        ("broker", shown_broker(broker)),
        ("provider", shown_provider(provider)),
        ("guard", shown_guard(guard)),
        ("retry", retry),
        ("ledger", ledger_table),
        ("worker", worker_table),
        ("http", http_table),
        ("backup", shown_backup(backup)),
        ("log", section(vec![("format", format.into()), ("level", log.level.clone().into())])),
    ];
    let console = console.as_ref().map(|console| {
        let login = [("enabled", true.into()), ("user", console.user.clone().into()), ("password", HIDDEN.into())];
        let listen = console.listen.map(|listen| ("listen", listen.to_string().into()));
        ("console", section(login.into_iter().chain(listen).collect()))
    });
    let brake = brake.map(|brake| {
        let limit = vec![("max_deletions", i64::from(brake.max_deletions).into()), ("window", time(brake.window))];
        ("brake", section(limit))
    });
    let tracing = tracing.as_ref().map(|tracing| ("tracing", shown_tracing(tracing)));
    let publishers = publishers.as_ref().map(|them| ("publishers", section(vec![("allow", list(&them.allow))])));
    let tables = all
        .into_iter()
        .chain(console)
        .chain(tracing)
        .chain(brake)
        .chain(publishers)
        .map(|(name, table)| (name, Value::Table(table)));
    let protected = Value::Array(protected.iter().map(|pattern| pattern.as_str().into()).collect());
    section(tables.chain([("protected", protected)]).collect()).to_string()
}

fn shown_backup(backup: &settings::BackupSettings) -> Table {
    let url = match &backup.store {
        BackupStore::Folder(folder) => format!("file://{}", folder.display()),
        BackupStore::Bucket(url) => url.to_string(),
    };
    section(vec![
        ("url", url.into()),
        ("reasons", list(&backup.reasons)),
        ("max_size", size(backup.max_size).into()),
        ("timeout", time(backup.timeout)),
        ("concurrency", i64::try_from(backup.concurrency).unwrap_or(i64::MAX).into()),
        ("allow_http", backup.allow_http.into()),
        ("allow_hosts", list(&backup.allow_hosts)),
    ])
}

fn shown_tracing(tracing: &TracingSettings) -> Table {
    let mut shown = vec![
        ("otlp_endpoint", tracing.otlp_endpoint.as_str().into()),
        ("sample_ratio", tracing.sample_ratio.into()),
        ("service_name", tracing.service_name.clone().into()),
    ];
    shown.extend(tracing.token.as_ref().map(|_| ("otlp_token", HIDDEN.into())));
    section(shown)
}

fn shown_broker(broker: &settings::BrokerSettings) -> Table {
    let mut shown = section(vec![
        ("url", shown_urls(&broker.urls)),
        ("prefix", broker.prefix.clone().into()),
        ("results_queue", broker.results_queue.into()),
        ("started_events", broker.started_events.into()),
        ("delivery_limit", i64::from(broker.delivery_limit).into()),
    ]);
    let files = [
        ("ca_file", &broker.ca_file),
        ("client_cert_file", &broker.client_cert_file),
        ("client_key_file", &broker.client_key_file),
    ];
    for (key, file) in files {
        if let Some(file) = file {
            shown.insert(key.to_owned(), file.display().to_string().into());
        }
    }
    shown
}

fn shown_rule(rule: &settings::AnswerRule) -> Value {
    let operation = rule.operation.map(|operation| operation.as_str().to_owned());
    let texts = [
        ("operation", operation),
        ("status", rule.status.map(|status| status.to_string())),
        ("code", rule.code.clone()),
        ("message", rule.message.clone()),
        ("asset_status", rule.asset_status.clone()),
        ("means", Some(rule.means.as_str().to_owned())),
    ];
    Value::Table(section(texts.into_iter().filter_map(|(name, text)| Some((name, text?.into()))).collect()))
}

fn shown_provider(provider: &settings::ProviderSettings) -> Table {
    let mut shown = section(vec![
        ("base_url", provider.base_url.as_str().into()),
        ("token", HIDDEN.into()),
        ("connect_timeout", time(provider.connect_timeout)),
        ("max_pause", time(provider.max_pause)),
        ("job_url", provider.job_url.clone().into()),
        ("control_window", time(provider.control_window)),
        ("absent_streak", i64::from(provider.absent_streak.unwrap_or(0)).into()),
        ("verify_url", provider.verify_url.into()),
        ("answers", Value::Array(provider.answers.iter().map(shown_rule).collect())),
        ("timeout", time(provider.timeout)),
        ("confirm_target", provider.confirm_target.into()),
        ("verify", provider.verify.into()),
        ("verify_interval", time(provider.verify_interval)),
        ("retry_codes", list(&provider.retry_codes)),
        ("gone_codes", list(&provider.gone_codes)),
        ("refused_codes", list(&provider.refused_codes)),
    ]);
    let control = provider.control_asset.as_ref();
    shown.extend(control.map(|asset| ("control_asset".to_owned(), asset.as_str().into())));
    shown.extend(provider.max_rate.map(|rate| ("max_rate".to_owned(), i64::from(rate.get()).into())));
    shown
}

fn shown_guard(guard: &settings::GuardSettings) -> Table {
    let mut shown = section(vec![
        ("in_progress", list(&guard.in_progress)),
        ("confirm_with_provider", guard.confirm_with_provider.into()),
        ("poll", time(guard.poll)),
        ("none", guard.none.into()),
    ]);
    if let Some(http) = &guard.http {
        let mut all = vec![("url", shown_template(&http.url).into()), ("timeout", time(http.timeout))];
        all.extend(http.token.as_ref().map(|_| ("token", HIDDEN.into())));
        shown.insert("http".to_owned(), Value::Table(section(all)));
    }
    if let Some(postgres) = &guard.postgres {
        let all = vec![
            ("url", shown_url(&postgres.url).into()),
            ("query", postgres.query.clone().into()),
            ("allow_standby", postgres.allow_standby.into()),
            ("timeout", time(postgres.timeout)),
        ];
        shown.insert("postgres".to_owned(), Value::Table(section(all)));
    }
    shown
}

fn section(pairs: Vec<(&str, Value)>) -> Table {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn time(duration: Duration) -> Value {
    brief(duration).into()
}

fn list(items: &[String]) -> Value {
    Value::Array(items.iter().map(|item| item.as_str().into()).collect())
}

/// One URL as a text, several as a list.
fn shown_urls(urls: &[SecretString]) -> Value {
    match urls {
        [url] => shown_url(url).into(),
        urls => list(&urls.iter().map(shown_url).collect::<Vec<_>>()),
    }
}

/// The URL without user and password; without anything when it cannot be taken apart.
fn shown_url(url: &SecretString) -> String {
    let Ok(mut url) = Url::parse(url.expose_secret()) else { return HIDDEN.to_owned() };
    if url.set_username(HIDDEN).is_err() || url.set_password(Some(HIDDEN)).is_err() {
        return HIDDEN.to_owned();
    }
    url.set_query(None);
    url.to_string()
}

/// The template without user and password. Not by way of `Url`, which would encode the braces.
fn shown_template(template: &SecretString) -> String {
    let template = template.expose_secret();
    let Some((scheme, rest)) = template.split_once("://") else { return HIDDEN.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}{path}"),
        None => template.to_owned(),
    }
}

/// A file's name is no secret.
fn shown_ledger(url: &SecretString) -> String {
    let plain = url.expose_secret();
    if plain.starts_with("postgres") { shown_url(url) } else { plain.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_without_their_secrets() {
        let set = |key: &str, value: &str| (format!("ASSET_ERASER__{key}"), value.to_owned());
        let settings = Settings::load(
            None,
            [
                set("BROKER__URL", "amqp://me:pass-word@broker:5671/%2f"),
                set("PROVIDER__TOKEN", "provider-key"),
                set("GUARD__HTTP__URL", "https://me:basic-w%40rd@jobs.example/{asset_id}?by=me@example"),
                set("GUARD__HTTP__TOKEN", "registry-key"),
                set("LEDGER__URL", "postgres://me:database-word@database/eraser?sslmode=require"),
                set("GUARD__POSTGRES__URL", "postgres://me:table-word@database/jobs"),
                set("GUARD__POSTGRES__QUERY", "SELECT id, status FROM jobs WHERE asset_id = $1;"),
                set("HTTP__TOKEN", "status-key"),
                set("LOG__FORMAT", "json"),
                set("BRAKE__MAX_DELETIONS", "500"),
                set("TRACING__OTLP_ENDPOINT", "https://collector.example:4318"),
                set("TRACING__OTLP_TOKEN", "collector-key"),
                set("TRACING__SAMPLE_RATIO", "0.25"),
                set("PUBLISHERS__ALLOW", "privacy-desk"),
                set("PROTECTED", "asset-2026*, logo-?"),
            ],
        )
        .unwrap();
        let shown = print(&settings);
        for secret in [
            "pass-word",
            "provider-key",
            "registry-key",
            "database-word",
            "status-key",
            "table-word",
            "basic-w",
            "collector-key",
        ] {
            assert!(!shown.contains(secret), "{shown}");
        }
        insta::assert_snapshot!(shown);
    }
}
