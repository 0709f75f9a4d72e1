//! Every setting, for people: `asset-eraser config --keys`, and the table in docs/settings.md.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What is in force where it is not set; empty where nothing is.
    pub default: &'static str,
    /// What it does, in Markdown.
    pub about: &'static str,
}

const fn key(name: &'static str, default: &'static str, about: &'static str) -> Key {
    Key { name, default, about }
}

/// All of them, in the order of their sections.
pub const KEYS: &[Key] = &[
    key(
        "broker.url",
        "amqp://guest:guest@127.0.0.1:5672/%2f",
        "where RabbitMQ is: `amqp://USER:PASSWORD@HOST:PORT/VHOST`, special characters %-encoded; `amqps://` for TLS; a list, or several separated by commas or lines, for the nodes of a cluster, tried in turn",
    ),
    key("broker.url_file", "", "a file that holds it, instead; read again for each connection"),
    key("broker.prefix", "asset.deletion", "name of the exchange, and the beginning of every queue's name"),
    key(
        "broker.results_queue",
        "true",
        "declare `<prefix>.results`, so that no result is lost while no other queue is bound",
    ),
    key(
        "broker.started_events",
        "false",
        "publish `asset.deletion.started.v1` (routing key `event.started`) before the guard is first asked; see [job-starters.md](job-starters.md)",
    ),
    key(
        "broker.delivery_limit",
        "20",
        "how often in a row the worker may die while it works on a request; then the request is answered `attempts_exhausted` and buried. The ledger counts this. The `x-delivery-limit` of the request queue is ten times this number",
    ),
    key(
        "broker.ca_file",
        "",
        "for `amqps://`: PEM file of the CA that signed the broker's certificate, where the system does not know it",
    ),
    key(
        "broker.client_cert_file",
        "",
        "for `amqps://`: PEM file of our own certificate; with `?auth_mechanism=external` in the URL it replaces the password",
    ),
    key("broker.client_key_file", "", "PEM file of its key"),
    key(
        "provider.base_url",
        "https://zcbservice.aizfw.cn/kyyReactApiServer",
        "what every path of the provider's API is added to",
    ),
    key("provider.token", "", "**required**: the API key (or `provider.token_file`)"),
    key("provider.token_file", "", "a file that holds it"),
    key("provider.connect_timeout", "5s", "longest wait for a connection"),
    key("provider.timeout", "30s", "longest wait for a whole answer"),
    key("provider.max_rate", "found out", "most calls a second, where you know how many are allowed"),
    key("provider.confirm_target", "true", "look at the asset before deleting it"),
    key("provider.verify", "true", "look for it afterwards"),
    key("provider.verify_interval", "500ms", "between two looks that have to agree"),
    key(
        "provider.retry_codes",
        "",
        "codes of the provider that mean \"try later\"; a code on no list is retried, then refused",
    ),
    key("provider.gone_codes", "-1", "codes that mean \"no such asset\""),
    key("provider.refused_codes", "", "codes that mean \"no\""),
    key(
        "provider.answers",
        "",
        "rules for what answers mean, the first that holds counts: `[[provider.answers]]` with `operation`, `status`, `code`, `message`, `asset_status` and `means`; in a variable a JSON list; see [provider.md](provider.md)",
    ),
    key("provider.max_pause", "10m", "longest pause that an answer may ask for (`Retry-After` and its like)"),
    key(
        "provider.job_url",
        "/v1/result/{job_id}",
        "where a job's status is, with `{job_id}` in it: a path after the base URL, or a URL of the same server",
    ),
    key(
        "provider.control_asset",
        "",
        "an asset of your own that must always be found: what shows that \"not found\" is said of the asset and not of the key. It is never deleted; see [provider.md](provider.md#what-not-found-proves)",
    ),
    key("provider.control_window", "1m", "how long an asset that was found shows that this key finds assets"),
    key(
        "provider.absent_streak",
        "20",
        "without a control asset: after so many different assets in a row that were not found consuming stops; `0`: never",
    ),
    key(
        "provider.verify_url",
        "false",
        "`true`: ask the asset's own URL after the deletion whether it still serves bytes; so is done after a backup, too",
    ),
    key(
        "guard.http.url",
        "",
        "address of a job registry, with `{asset_id}` in it, which answers `{\"jobs\":[{\"id\",\"status\"}]}`",
    ),
    key("guard.http.url_file", "", "a file that holds it, instead"),
    key("guard.http.token", "", "bearer token that it wants (or `guard.http.token_file`)"),
    key("guard.http.token_file", "", "a file that holds it"),
    key("guard.http.timeout", "10s", "longest wait for a whole answer"),
    key(
        "guard.postgres.url",
        "",
        "a table of jobs: `postgres://USER:PASSWORD@HOST/DATABASE`. With both sources, both have to say that the asset is free",
    ),
    key("guard.postgres.url_file", "", "a file that holds it, instead"),
    key(
        "guard.postgres.query",
        "",
        "returns `id` and `status` of every job that uses the asset `$1`; run in a read-only transaction",
    ),
    key(
        "guard.postgres.allow_standby",
        "false",
        "`true`: a standby may be asked too, although it may not have the newest jobs yet; see [operating.md](operating.md#what-a-standby-must-be)",
    ),
    key("guard.postgres.timeout", "10s", "longest wait for a whole answer"),
    key(
        "guard.in_progress",
        "queued,processing",
        "statuses of a job in progress; so is every one that is not `completed`, `succeeded`, `failed` or `cancelled`. Letter case and white space around a word do not count",
    ),
    key(
        "guard.confirm_with_provider",
        "false",
        "ask the provider whether a listed job has really not ended, so that a forgotten job cannot block an erasure for ever",
    ),
    key(
        "guard.poll",
        "30s",
        "between two looks at an asset in use; later up to a tenth of the time that it was in use",
    ),
    key("guard.none", "false", "`true`: there is no source, delete without asking"),
    key("retry.initial", "200ms", "first wait of the retries in process (full jitter below it)"),
    key("retry.max_interval", "5s", "longest of these waits"),
    key("retry.max_elapsed", "15s", "longest time of these retries; then the request is put off"),
    key("retry.wait_steps", "5s,30s,2m,10m,1h", "how long it is put off, one step after the other"),
    key(
        "retry.max_age",
        "24h",
        "oldest that a waiting request may get: one that is older is not put off again, but answered",
    ),
    key(
        "ledger.url",
        "sqlite://asset-eraser.db",
        "a file, for one worker (the file `…-seen` beside it belongs to it); `postgres://USER:PASSWORD@HOST/DATABASE`, for any number of workers; or `memory:`, which forgets at exit (a private file in `/dev/shm`, else in `TMPDIR`)",
    ),
    key("ledger.url_file", "", "a file that holds it, instead"),
    key(
        "ledger.compact_after",
        "never",
        "how long after its decision a request becomes a tombstone, by the ledger's clock and only once the broker has confirmed its answer; at least `retry.max_age`",
    ),
    key("worker.concurrency", "adaptive", "requests at once: found out while working, or a number"),
    key("worker.max_concurrency", "512", "with `adaptive`, the most"),
    key("worker.grace", "25s", "time to finish at shutdown"),
    key(
        "worker.dry_run",
        "false",
        "`true`: every request is treated as if it said `dry_run`, and nothing is ever deleted",
    ),
    key(
        "brake.max_deletions",
        "no brake",
        "most deletions that may begin within the window, by all workers of the ledger together; the same for all of them",
    ),
    key("brake.window", "1h", "how far back deletions count, by the ledger's clock: 1 minute to 7 days"),
    key("publishers.allow", "all users", "RabbitMQ users who may ask"),
    key(
        "protected",
        "",
        "patterns of assets that are never deleted, such as `[\"asset-2026*\"]`: `*` is any run of characters, `?` one. In a file it stands above the first section; in the environment it is `ASSET_ERASER__PROTECTED`",
    ),
    key(
        "backup.url",
        "file://backups",
        "where copies of assets are kept before deletions that ask for it: `file://FOLDER`, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`; see [backups.md](backups.md)",
    ),
    key(
        "backup.reasons",
        "",
        "the `reason`s whose requests want a backup although they don't say so; never those of a case",
    ),
    key("backup.max_size", "10GiB", "largest asset that is kept; a larger one is not deleted"),
    key("backup.timeout", "10m", "longest time for one copy, reading it back included"),
    key("backup.concurrency", "4", "copies at once; each takes up to 32 MiB of memory"),
    key("backup.allow_http", "false", "`true`: an asset's URL may be `http`"),
    key("backup.allow_hosts", "", "hosts of assets' URLs that may have addresses that are not public"),
    key(
        "http.listen",
        "127.0.0.1:9464",
        "address and port of `/metrics`, `/livez`, `/readyz`, `/v1`, and of the console unless it has its own",
    ),
    key("http.token", "", "bearer token that `/v1` wants (or `http.token_file`)"),
    key("http.token_file", "", "a file that holds it"),
    key("console.enabled", "false", "pages for people at `/`, behind a login"),
    key(
        "console.listen",
        "",
        "address and port of the pages alone, such as `127.0.0.1:9465`; none: those of `http.listen`",
    ),
    key("console.user", "operator", "who logs in"),
    key(
        "console.password",
        "",
        "with which password, 12 characters or more (or `console.password_file`); as a bearer token it does without the user",
    ),
    key("console.password_file", "", "a file that holds it"),
    key(
        "tracing.otlp_endpoint",
        "",
        "where spans are sent, as OTLP over HTTP: `http://collector:4318` (`/v1/traces` is added where there is no path); none without",
    ),
    key("tracing.otlp_token", "", "bearer token that the collector wants (or `tracing.otlp_token_file`)"),
    key("tracing.otlp_token_file", "", "a file that holds it"),
    key(
        "tracing.sample_ratio",
        "1",
        "which part of the traces that begin here is kept, 0 to 1; a publisher's `traceparent` decides for its own",
    ),
    key("tracing.service_name", "asset-eraser", "what the spans are of"),
    key("log.format", "text or json", "`text` on a terminal, else `json`"),
    key("log.level", "info", "`error`, `warn`, `info`, `debug`, `trace`, or `tracing` filter directives"),
];

/// The defaults that are words for a person, not values.
#[cfg(test)]
const WORDS: [&str; 5] = ["found out", "never", "no brake", "all users", "text or json"];

/// As a table in Markdown.
#[must_use]
pub fn table() -> String {
    let row = |Key { name, default, about }: &Key| {
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        format!("| `{name}` | {default} | {about} |\n")
    };
    let head = "| Key | Default | |\n| --- | --- | --- |\n".to_owned();
    [head].into_iter().chain(KEYS.iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::operator::cli;
    use crate::settings::Settings;

    fn load(file: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, file).unwrap();
        Settings::load(Some(&path), []).map_err(|error| error.to_string())
    }

    /// What can be set in a section, by the words of the parser that refuses an unknown key.
    fn known(section: &str) -> BTreeSet<String> {
        let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let error = load(&format!("{header}nothing = 1")).unwrap_err();
        let names = error.split_once("expected ").unwrap_or_else(|| panic!("{error}")).1;
        names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_setting_is_told_and_there_are_no_others() {
        let mut all = BTreeSet::new();
        for section in known("") {
            if section == "protected" {
                all.insert(section);
                continue;
            }
            for name in known(&section) {
                let inner = format!("{section}.{name}");
                if ["guard.http", "guard.postgres"].contains(&inner.as_str()) {
                    all.extend(known(&inner).into_iter().map(|name| format!("{inner}.{name}")));
                } else {
                    all.insert(inner);
                }
            }
        }
        let told: BTreeSet<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
        assert_eq!(told, all);
        assert_eq!(told.len(), KEYS.len(), "one stands twice");
    }

    #[test]
    fn the_defaults_are_those_that_are_in_force() {
        let settings = load("[provider]\ntoken = \"x\"\n[guard]\nnone = true").unwrap();
        let printed: toml::Table = cli::config::print(&settings).parse().unwrap();
        for Key { name, default, .. } in KEYS {
            // Printed without its password; said to start at all; or of something that is off.
            let other = matches!(
                *name,
                "broker.url"
                    | "guard.none"
                    | "provider.token"
                    | "brake.window"
                    | "console.user"
                    | "tracing.sample_ratio"
                    | "tracing.service_name"
            );
            let off =
                name.starts_with("guard.http") || name.starts_with("guard.postgres") || *name == "console.enabled";
            if other || off || WORDS.contains(default) {
                continue;
            }
            let mut parts = name.split('.');
            let value = parts.clone().next().and_then(|first| printed.get(first));
            let value = parts.by_ref().skip(1).fold(value, |value, part| value?.as_table()?.get(part));
            let plain = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let in_force = match value {
                Some(toml::Value::Array(values)) => values.iter().map(plain).collect::<Vec<_>>().join(","),
                Some(value) => plain(value),
                None => String::new(),
            };
            assert_eq!(*default, in_force, "{name}");
        }
    }

    #[test]
    fn the_table_of_the_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (begin, end) = ("<!-- asset-eraser config --keys -->\n", "<!-- end -->");
        let (before, rest) = page.split_once(begin).expect("the marker");
        let (old, after) = rest.split_once(end).expect("the end marker");
        if old != table() && std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, [before, begin, &table(), end, after].concat()).unwrap();
            return;
        }
        assert!(
            old == table(),
            "docs/settings.md has another table: UPDATE_DOCS=1 cargo test --lib settings::keys writes it anew"
        );
    }
}
