//! The settings of backups.

use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use super::checks::{SECOND, cleanly_written, within};
use super::raw::RawBackup;
use super::source::Source;
use super::{BackupSettings, BackupStore, ConfigError};

/// Where copies are kept unless the operator says where.
const FOLDER: &str = "backups";
/// Largest asset unless the operator says so: 10 GiB.
const MAX_SIZE: u64 = 10 << 30;
/// No store takes a larger object: 5 TiB.
const LARGEST: u64 = 5 << 40;
/// Longest time for one copy. The delivery is held for it, and RabbitMQ closes the channel of one that is held longer
/// than its `consumer_timeout`, 30 minutes by default.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Most copies at once: each holds some part of an asset in memory.
const MOST_AT_ONCE: u32 = 64;

pub(super) fn backup(source: &Source, raw: &RawBackup) -> Result<BackupSettings, ConfigError> {
    let max_size = raw.max_size.0.unwrap_or(MAX_SIZE);
    if !(1..=LARGEST).contains(&max_size) {
        return Err(source.problem("backup.max_size", "must be 1B to 5TiB"));
    }
    let concurrency = raw.concurrency.0.unwrap_or(4);
    if !(1..=MOST_AT_ONCE).contains(&concurrency) {
        return Err(source.problem("backup.concurrency", format!("must be 1 to {MOST_AT_ONCE}")));
    }
    let reasons = raw.reasons.0.clone().unwrap_or_default();
    if reasons.iter().any(String::is_empty) {
        return Err(source.problem("backup.reasons", "must be texts that requests say as their reason; one is empty"));
    }
    Ok(BackupSettings {
        store: store(source, raw.url.as_deref())?,
        named: raw.url.is_some(),
        reasons,
        max_size,
        timeout: within(source, "backup.timeout", raw.timeout.0, 600 * SECOND, SECOND, LONGEST)?,
        concurrency: concurrency as usize,
        allow_http: raw.allow_http.0.unwrap_or(false),
        allow_hosts: raw.allow_hosts.0.iter().flatten().map(|host| allowed(source, host)).collect::<Result<_, _>>()?,
    })
}

fn store(source: &Source, url: Option<&str>) -> Result<BackupStore, ConfigError> {
    let Some(url) = url else { return Ok(BackupStore::Folder(FOLDER.into())) };
    let rule = "must be file://FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX, without user, \
                query and fragment; keys and endpoints come from the cloud's own variables, such as AWS_ACCESS_KEY_ID";
    if let Some(folder) = url.strip_prefix("file://").filter(|folder| !folder.is_empty()) {
        return Ok(BackupStore::Folder(PathBuf::from(folder)));
    }
    cleanly_written(source, "backup.url", &url.into())?;
    let bucket = Url::parse(url).ok().filter(|url| {
        let plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
        let named = url.host_str().is_some_and(|host| !host.is_empty());
        matches!(url.scheme(), "s3" | "gs" | "az")
            && plain
            && named
            && url.query().is_none()
            && url.fragment().is_none()
    });
    bucket.map(BackupStore::Bucket).ok_or_else(|| source.problem("backup.url", rule))
}

/// As `Url` writes it, since that is what it is compared with.
fn allowed(source: &Source, host: &str) -> Result<String, ConfigError> {
    let rule =
        "must be names or addresses of hosts, such as media.internal, 10.1.2.3 or [fd00::1], without scheme and port";
    Host::parse(host).map(|host| host.to_string()).map_err(|_| source.problem("backup.allow_hosts", rule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn load(set: &[(&str, &str)]) -> Result<BackupSettings, String> {
        let all = [("PROVIDER__TOKEN", "x"), ("GUARD__NONE", "true")].iter().chain(set);
        let all = all.map(|(key, value)| (format!("ASSET_ERASER__{key}"), (*value).to_owned()));
        Settings::load(None, all).map(|settings| settings.backup).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_safe() {
        let backup = load(&[]).unwrap();
        assert!(!backup.named && !backup.allow_http && backup.allow_hosts.is_empty() && backup.reasons.is_empty());
        assert_eq!(backup.store, BackupStore::Folder("backups".into()));
    }

    #[test]
    fn each_kind_of_store_is_read() {
        let store = |url| load(&[("BACKUP__URL", url)]).unwrap().store;
        assert_eq!(store("file://some/folder"), BackupStore::Folder("some/folder".into()));
        assert_eq!(store("file:///var/lib/backups"), BackupStore::Folder("/var/lib/backups".into()));
        for url in ["s3://bucket/some/prefix", "gs://bucket", "az://container/prefix/"] {
            assert_eq!(store(url), BackupStore::Bucket(url.parse().unwrap()));
        }
    }

    #[test]
    fn a_bad_setting_is_named() {
        for (key, value) in [
            ("URL", "file://"),
            ("URL", "backups"),
            ("URL", "s3://key:secret@bucket"),
            ("URL", "s3:///prefix"),
            ("URL", "s3://bucket?region=x"),
            ("URL", "https://bucket.example"),
            ("MAX_SIZE", "0B"),
            ("MAX_SIZE", "6TiB"),
            ("MAX_SIZE", "10GB"),
            ("TIMEOUT", "16m"),
            ("CONCURRENCY", "0"),
            ("CONCURRENCY", "65"),
            ("ALLOW_HOSTS", "http://host"),
            ("ALLOW_HOSTS", "host:80"),
            ("ALLOW_HTTP", "yes"),
        ] {
            let error = load(&[(&format!("BACKUP__{key}"), value)]).unwrap_err();
            assert!(error.starts_with(&format!("backup.{}", key.to_lowercase())), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn hosts_are_compared_as_a_url_writes_them() {
        let backup = load(&[("BACKUP__ALLOW_HOSTS", "Media.Internal,10.1.2.3,[FD00::1]")]).unwrap();
        assert_eq!(backup.allow_hosts, ["media.internal", "10.1.2.3", "[fd00::1]"]);
    }
}
