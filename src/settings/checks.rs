//! What more than one section checks in the same way: addresses, times, secrets and URLs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::address::unclean;
use super::source::{Source, text_of};
use super::{ConfigError, brief};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn address(source: &Source, key: &str, given: &str) -> Result<SocketAddr, ConfigError> {
    given.parse().map_err(|_| source.problem(key, "must be an address and a port, such as 127.0.0.1:9464"))
}

/// The URLs of a broker's nodes, one after the other, or what is wrong with one of them.
pub(super) fn usable_urls(text: &str) -> Result<Vec<SecretString>, String> {
    let rule = "must be amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…, with special characters in it %-encoded; several, \
                for the nodes of a cluster, are tried in turn";
    let urls = each_url(text);
    if let Some(problem) = urls.iter().find_map(|url| unclean(url)) {
        return Err(problem);
    }
    let parsed: Option<Vec<Url>> = urls.iter().map(|url| broker_url(url)).collect();
    let parsed = parsed.filter(|urls| !urls.is_empty()).ok_or(rule)?;
    let one = |url: &Url| (url.scheme().to_owned(), url.username().to_owned(), url.path().to_owned());
    if parsed.iter().any(|url| one(url) != one(&parsed[0])) {
        return Err("must name one scheme, one user and one virtual host, the same in each URL".to_owned());
    }
    Ok(urls.into_iter().map(SecretString::from).collect())
}

/// Separated by white space, or by a comma before the next scheme: a password may hold one.
fn each_url(text: &str) -> Vec<String> {
    let text = text.replace(",amqp", " amqp");
    text.split_ascii_whitespace().map(|url| url.trim_end_matches(',').to_owned()).collect()
}

fn broker_url(url: &str) -> Option<Url> {
    Url::parse(url)
        .ok()
        .filter(|parsed| matches!(parsed.scheme(), "amqp" | "amqps") && url.bytes().all(|byte| byte.is_ascii_graphic()))
}

pub(super) fn within(
    source: &Source,
    key: &str,
    value: Option<Duration>,
    default: Duration,
    least: Duration,
    most: Duration,
) -> Result<Duration, ConfigError> {
    let value = value.unwrap_or(default);
    if value < least || value > most {
        return Err(source.problem(key, format!("must be {} to {}", brief(least), brief(most))));
    }
    Ok(value)
}

/// Refuses a URL of which a part of the password would be taken for something else.
pub(super) fn cleanly_written(source: &Source, key: &str, url: &SecretString) -> Result<(), ConfigError> {
    match unclean(url.expose_secret()) {
        Some(problem) => Err(source.problem(key, problem)),
        None => Ok(()),
    }
}

pub(super) fn secret(
    source: &Source,
    key: &str,
    token: Option<&SecretString>,
    file: Option<&PathBuf>,
) -> Result<Option<SecretString>, ConfigError> {
    let key_file = format!("{key}_file");
    let (key, secret) = match (token, file) {
        (Some(_), Some(_)) => {
            return Err(source.problem(&key_file, format!("set either {key} or {key_file}, not both")));
        }
        (None, None) => return Ok(None),
        (Some(token), None) => (key, token.clone()),
        (None, Some(file)) => (key_file.as_str(), from_file(source, &key_file, file)?),
    };
    let text = secret.expose_secret();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(source.problem(key, "must be visible ASCII characters without spaces, and not empty"));
    }
    Ok(Some(secret))
}

pub(super) fn from_file(source: &Source, key: &str, file: &Path) -> Result<SecretString, ConfigError> {
    let text = text_of(file).map_err(|why| source.problem(key, format!("{} {why}", file.display())))?;
    Ok(text.trim_end_matches(['\n', '\r']).into())
}
