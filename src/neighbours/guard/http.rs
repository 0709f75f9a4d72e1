//! The job registry over HTTP: which jobs use an asset, and how far they are.

use std::time::Duration;

use percent_encoding::utf8_percent_encode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::Url;

use super::{GuardError, Job};
use crate::contract::json::{self, Object};
use crate::contract::message::id::AssetId;
use crate::contract::message::trace::TraceContext;
use crate::neighbours::provider::origin::{Origin, Proxy};
use crate::neighbours::provider::transport::{self, SetupError};
use crate::neighbours::provider::{Fault, ID_ENCODED};
use crate::platform::telemetry::traces::{self, Span};
use crate::settings;

/// Where the asset ID goes in the URL template.
const PLACE: &str = "{asset_id}";
/// Stands in for an ID when the template is checked at start.
const SAMPLE: &str = "asset-0";
/// A connection to a registry, which is near, is there by then or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The whole answer.
///
/// Unknown fields are refused, on this level only: `next`, `cursor` or `truncated` would make this a part of an
/// answer, and a part of an answer must not set an asset free.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobListing {
    jobs: Vec<Object<Job>>,
    #[serde(default)]
    asset_id: Option<String>,
}

/// The registry. Its client is its own: the provider's sends the provider's token.
#[derive(Clone)]
pub(super) struct Registry {
    http: reqwest::Client,
    template: String,
    /// The proxy that the environment sets for it.
    proxy: Option<Proxy>,
}

/// The template is left out: an operator may have put a password into it.
impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    pub(super) fn new(settings: &settings::HttpGuard) -> Result<Self, GuardError> {
        let template = settings.url.expose_secret();
        let proxy = Proxy::of(&url(template, SAMPLE).ok_or(GuardError::Url)?);
        let connect_timeout = CONNECT_TIMEOUT.min(settings.timeout);
        let http =
            transport::client(settings.token.as_ref(), connect_timeout, settings.timeout).map_err(
                |error| match error {
                    SetupError::Token => GuardError::Token,
                    SetupError::Client(why) => GuardError::Setup(why),
                },
            )?;
        Ok(Self { http, template: template.to_owned(), proxy })
    }

    /// The jobs that use `asset`, finished ones included, or why that is not known.
    pub(super) async fn jobs(&self, asset: &AssetId, trace: &TraceContext) -> Result<Vec<Job>, String> {
        let url = url(&self.template, asset.as_str()).ok_or("no URL can be made for this asset")?;
        // Without the URL: an operator may have put a password into it.
        let mut span = traces::http_call(trace, "GET", None, &url, false);
        let trace = span.context(trace);
        let jobs = self.ask(url, asset, &trace, &mut span).await;
        if let Err(why) = &jobs {
            span.failed("unknown", || why.clone());
        }
        jobs
    }

    async fn ask(&self, url: Url, asset: &AssetId, trace: &TraceContext, span: &mut Span) -> Result<Vec<Job>, String> {
        let response = transport::traced(self.http.get(url), trace)
            .send()
            .await
            .map_err(|error| transport::fault(&error).to_string())?;
        let status = response.status().as_u16();
        span.answered(status);
        let origin = Origin::of(&response, self.proxy.as_ref());
        if status != 200 {
            return Err(from(&origin, &[], format!("HTTP status {status}")));
        }
        let body = transport::body(response).await.map_err(|fault| match fault {
            Fault::Encoding => format!("{fault} ({})", origin.told()),
            _ => fault.to_string(),
        })?;
        read(&body, asset).map_err(|why| from(&origin, &body, why))
    }
}

/// What is wrong with an answer, with its sender if that may be something on the way, such as a proxy.
fn from(origin: &Origin, body: &[u8], why: String) -> String {
    if origin.is_between(body) { format!("{why} ({})", origin.told()) } else { why }
}

pub(super) fn read(body: &[u8], asset: &AssetId) -> Result<Vec<Job>, String> {
    let Object(listing): Object<JobListing> =
        serde_json::from_slice(json::without_mark(body)).map_err(|error| why_unreadable(&error))?;
    match listing.asset_id {
        Some(other) if other != asset.as_str() => Err("the answer is about another asset".to_owned()),
        _ => Ok(listing.jobs.into_iter().map(|Object(job)| job).collect()),
    }
}

/// Where the answer stopped making sense. Not serde's own words: they quote the answer.
fn why_unreadable(error: &serde_json::Error) -> String {
    let what = if error.is_data() {
        "is not {\"jobs\":[{\"id\",\"status\"}]}, with each field once and no other field beside jobs"
    } else {
        "is not complete JSON"
    };
    format!("the answer {what} (line {}, column {})", error.line(), error.column())
}

/// The template with the ID in its place, or `None` when that is no URL to call, or the ID does not survive in the
/// path or query of it (in the host it would choose whom to ask; `..` would vanish).
fn url(template: &str, id: &str) -> Option<Url> {
    let encoded = utf8_percent_encode(id, ID_ENCODED).to_string();
    if !template.contains(PLACE) || matches!(id, "" | "." | "..") {
        return None;
    }
    let url = Url::parse(&template.replace(PLACE, &encoded)).ok()?;
    let survives = url.path().contains(&encoded) || url.query().is_some_and(|query| query.contains(&encoded));
    (matches!(url.scheme(), "http" | "https") && survives).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &str) -> Result<usize, String> {
        let asset = AssetId::parse("a-1")?;
        read(body.as_bytes(), &asset).map(|jobs| jobs.len())
    }

    #[test]
    fn only_a_whole_and_clear_answer_is_read() {
        assert_eq!(parsed(r#"{"jobs":[]}"#), Ok(0));
        assert_eq!(parsed(r#"{"asset_id":"a-1","jobs":[{"id":"j","status":"x","model":"m"}]}"#), Ok(1));
        for body in [
            "",
            "[]",
            "[[]]",
            r#"[[],"a-1"]"#,
            r#"{"jobs":[["j","completed"]]}"#,
            "{}",
            r#"{"jobs":null}"#,
            r#"{"jobs":{}}"#,
            r#"{"jobs":[]"#,
            r#"{"jobs":[]}}"#,
            r#"{"jobs":[],"jobs":[]}"#,
            r#"{"jobs":[],"next":"page-2"}"#,
            r#"{"jobs":[],"asset_id":"a-2"}"#,
            r#"{"jobs":[{"id":"j"}]}"#,
            r#"{"jobs":[{"status":"completed"}]}"#,
            r#"{"jobs":[{"id":7,"status":"completed"}]}"#,
            r#"{"jobs":[{"id":"j","status":null}]}"#,
            r#"{"jobs":[{"id":"j","status":"queued","status":"completed"}]}"#,
            r#"{"jobs":["j"]}"#,
            r#"{"error":"no such asset"}"#,
        ] {
            assert!(parsed(body).is_err(), "{body}");
        }
    }

    #[test]
    fn an_unreadable_answer_is_not_quoted() {
        let why = parsed(r#"{"jobs":[],"secret-field":1}"#).unwrap_err();
        assert!(!why.contains("secret-field"), "{why}");
    }

    #[test]
    fn the_id_stays_in_its_place() {
        let made = |template, id| url(template, id).map(String::from);
        assert_eq!(made("http://r/jobs/{asset_id}", "a-1_.x").as_deref(), Some("http://r/jobs/a-1_.x"));
        assert_eq!(made("http://r/j?asset={asset_id}&all=1", "a").as_deref(), Some("http://r/j?asset=a&all=1"));
        assert_eq!(made("http://r/jobs/{asset_id}", "a/../b?c").as_deref(), Some("http://r/jobs/a%2F..%2Fb%3Fc"));
        for (template, id) in [
            ("http://r/jobs/{asset_id}", ".."),
            ("http://r/jobs/{asset_id}", ""),
            ("http://r/jobs/", "a"),
            ("http://{asset_id}/jobs", "asset"),
            ("http://r/jobs#{asset_id}", "asset"),
            ("file:///jobs/{asset_id}", "a"),
            ("jobs/{asset_id}", "a"),
        ] {
            assert_eq!(made(template, id), None, "{template} {id}");
        }
    }
}
