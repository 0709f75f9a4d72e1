//! The asset's bytes, from the URL that the provider gives: fetched once, from front to back, and never trusted.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING};
use reqwest::redirect::{self, Attempt};
use reqwest::{Response, StatusCode, retry};
use url::Url;

use super::address::{AddressRules, PublicOnly, RefusedAddress};
use super::{BackupError, Trouble};
use crate::neighbours::provider::{Detail, retry_after};
use crate::platform::crypto;
use crate::settings;

/// Redirects followed.
const MOST_REDIRECTS: usize = 5;
/// Longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for the next bytes.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// The status of an asset that is still being made.
const PROCESSING: &str = "Processing";

/// Fetches assets.
#[derive(Debug)]
pub(super) struct AssetSource {
    http: reqwest::Client,
    rules: Arc<AddressRules>,
    max_size: u64,
}

/// An asset that is being fetched.
#[derive(Debug)]
pub(super) struct Download {
    response: Response,
    /// What its server says that it is.
    pub(super) content_type: Option<String>,
    /// How long its server says that it is, in bytes.
    announced: Option<u64>,
    received: u64,
    max_size: u64,
}

impl AssetSource {
    pub(super) fn new(settings: &settings::BackupSettings) -> Result<Self, BackupError> {
        let rules =
            Arc::new(AddressRules { allow_http: settings.allow_http, allow_hosts: settings.allow_hosts.clone() });
        let on_redirect = Arc::clone(&rules);
        crypto::install();
        // No default headers: the provider's key is for the provider. No proxy: it would resolve the name, and the address
        // that is connected to would not be checked.
        let http = reqwest::Client::builder()
            .user_agent(concat!("asset-eraser/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(STALL_LIMIT.min(settings.timeout))
            .http1_only()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .dns_resolver(PublicOnly(Arc::clone(&rules)))
            .redirect(redirect::Policy::custom(move |attempt| redirected(&on_redirect, attempt)))
            .retry(retry::never())
            .referer(false)
            .build()
            .map_err(|error| BackupError::Client(error.without_url().to_string()))?;
        Ok(Self { http, rules, max_size: settings.max_size })
    }

    /// Asks for an asset's bytes; none of them is read yet.
    pub(super) async fn open(&self, asset: &Detail) -> Result<Download, Trouble> {
        let response = self.ask(asset).await?;
        check_status(&response)?;
        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        check_type(asset, content_type.as_deref())?;
        let announced = announced(&response)?;
        if announced.is_some_and(|length| length > self.max_size) {
            return Err(too_large(self.max_size));
        }
        Ok(Download { response, content_type, announced, received: 0, max_size: self.max_size })
    }
}

impl AssetSource {
    /// Whether the asset's URL serves at least one byte; `None` where that is not clear.
    pub(super) async fn serves(&self, asset: &Detail) -> Option<bool> {
        let mut response = self.ask(asset).await.ok()?;
        match response.status() {
            StatusCode::OK => Some(response.chunk().await.ok()?.is_some_and(|bytes| !bytes.is_empty())),
            // With 401 and 403 the signature may only be too old: nothing is served all the same.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => Some(false),
            _ => None,
        }
    }

    /// Whatever the asset's URL answers.
    async fn ask(&self, asset: &Detail) -> Result<Response, Trouble> {
        let Some(url) = &asset.url else { return Err(no_url(asset)) };
        let url = Url::parse(url.expose())
            .map_err(|_| Trouble::Lasting("the url that the provider gives for the asset is none".into()))?;
        self.rules.check(&url).map_err(refuse)?;
        let sent = self.http.get(url).header(ACCEPT_ENCODING, HeaderValue::from_static("identity")).send().await;
        let response = sent.map_err(|error| broken(&error))?;
        // The resolver has seen to it; this is the second lock.
        let from = response.remote_addr().map(|at| self.rules.connected(response.url(), at.ip()));
        from.unwrap_or(Err(RefusedAddress::NotPublic)).map_err(refuse)?;
        Ok(response)
    }
}

impl Download {
    /// The most bytes that it can be.
    pub(super) fn most(&self) -> u64 {
        self.announced.unwrap_or(self.max_size)
    }

    /// The next bytes; `None` once all have come.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        let chunk = self.response.chunk().await.map_err(|error| broken(&error))?;
        let Some(chunk) = chunk else {
            return match self.announced {
                Some(length) if length != self.received => {
                    Err(Trouble::passing("the asset's bytes are not as many as their server said"))
                }
                _ if self.received == 0 => Err(Trouble::Doubtful("the asset's url leads to nothing at all".into())),
                _ => Ok(None),
            };
        };
        self.received += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if self.received > self.max_size {
            return Err(too_large(self.max_size));
        }
        Ok(Some(chunk))
    }
}

fn redirected(rules: &AddressRules, attempt: Attempt<'_>) -> redirect::Action {
    let before = attempt.previous().last().map(|url| url.scheme().to_owned());
    let refused = if before.as_deref() != Some(attempt.url().scheme()) {
        RefusedAddress::RedirectScheme
    } else if attempt.previous().len() > MOST_REDIRECTS {
        RefusedAddress::Redirects
    } else if let Err(refused) = rules.check(attempt.url()) {
        refused
    } else {
        return attempt.follow();
    };
    attempt.error(refused)
}

fn no_url(asset: &Detail) -> Trouble {
    if asset.status.as_deref() == Some(PROCESSING) {
        return Trouble::passing("the provider gives no url for the asset, which it is still processing");
    }
    Trouble::Lasting("the provider gives no url for the asset".into())
}

fn refuse(refused: RefusedAddress) -> Trouble {
    Trouble::Lasting(format!("the asset's url is not asked: {refused}"))
}

fn too_large(limit: u64) -> Trouble {
    Trouble::Lasting(format!("the asset is larger than {} (backup.max_size)", settings::size(limit)))
}

/// What became of an exchange. The error itself is dropped here: its text holds the URL.
fn broken(error: &reqwest::Error) -> Trouble {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<RefusedAddress>() {
            return refuse(*refused);
        }
        cause = error.source();
    }
    Trouble::passing(if error.is_connect() {
        "no connection to the host of the asset's url could be made"
    } else if error.is_timeout() {
        "the host of the asset's url stopped sending"
    } else {
        "the connection broke before all of the asset had come"
    })
}

/// A whole answer is 200 and nothing else: 206 is a part.
fn check_status(response: &Response) -> Result<(), Trouble> {
    let status = response.status();
    let why = format!("the asset's url answers HTTP status {}", status.as_u16());
    match status {
        StatusCode::OK => Ok(()),
        // A signature may be too old, and the next attempt has a new one.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
            Err(Trouble::Passing { why, after: None })
        }
        StatusCode::TOO_MANY_REQUESTS => Err(Trouble::Passing { why, after: asked_to_wait(response) }),
        status if status.is_server_error() => Err(Trouble::Passing { why, after: asked_to_wait(response) }),
        _ => Err(Trouble::Doubtful(why)),
    }
}

fn asked_to_wait(response: &Response) -> Option<Duration> {
    retry_after(response.headers().get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

/// The length that the answer says, if it does. An answer that says neither that nor where its chunks end is over when the
/// connection is: a cut one would look whole.
fn announced(response: &Response) -> Result<Option<u64>, Trouble> {
    let chunked = response.headers().contains_key(TRANSFER_ENCODING);
    match response.content_length() {
        Some(length) => Ok(Some(length)),
        None if chunked => Ok(None),
        None => Err(Trouble::Doubtful("the server of the asset's url does not say where the asset ends".into())),
    }
}

/// A page or a message in the place of a picture is what went wrong, said with HTTP status 200.
fn check_type(asset: &Detail, content_type: Option<&str>) -> Result<(), Trouble> {
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let words = media.starts_with("text/") || ["application/json", "application/xml"].contains(&media.as_str());
    match asset.asset_type.as_deref() {
        Some(kind @ ("Image" | "Video" | "Audio")) if words => {
            Err(Trouble::Doubtful(format!("the asset's url leads to {media} and not to its {kind}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_the_place_of_a_picture_is_none() {
        let of = |kind: Option<&str>, content_type| {
            let asset = Detail { asset_type: kind.map(str::to_owned), ..Detail::default() };
            check_type(&asset, content_type).is_ok()
        };
        for content_type in [None, Some("image/png"), Some("application/octet-stream"), Some("binary/octet-stream")] {
            assert!(of(Some("Image"), content_type), "{content_type:?}");
        }
        for content_type in ["text/html; charset=utf-8", "Application/JSON", "application/xml", "text/plain"] {
            assert!(!of(Some("Video"), Some(content_type)), "{content_type}");
            assert!(of(Some("Document"), Some(content_type)) && of(None, Some(content_type)), "{content_type}");
        }
    }
}
