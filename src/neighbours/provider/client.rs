//! One call to the provider, one attempt, one [`Answer`].

use std::time::Instant;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::RETRY_AFTER;
use url::Url;

use super::classify::{self, Reply, Rules};
use super::origin::{self, Origin, Proxy};
use super::transport::{self, SetupError};
use super::{Answer, Detail, Fault, JobStatus, Meaning, ProviderError};
use crate::contract::message::id::AssetId;
use crate::contract::message::trace::TraceContext;
use crate::neighbours::pace::gate::{Gate, Pass};
use crate::platform::telemetry::metrics::Metrics;
use crate::platform::telemetry::traces::{self, Span};
use crate::settings;

/// Everything but what an ID consists of.
pub(crate) const ID_ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
/// The longest job ID that is asked about.
const JOB_ID_LIMIT: usize = 128;

const ASSET: Folder = Folder { path: ["kyyVideo2", "asset"], template: "/kyyVideo2/asset/{asset_id}" };
const RESULT: Folder = Folder { path: ["v1", "result"], template: "/v1/result/{job_id}" };

/// Where one kind of thing is.
#[derive(Clone, Copy)]
struct Folder {
    path: [&'static str; 2],
    /// The same with a name for the ID, for spans.
    template: &'static str,
}

/// The provider, as far as a deleter needs it. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// The proxy that the environment sets for it.
    proxy: Option<Proxy>,
    rules: Rules,
    gate: Gate,
    metrics: Metrics,
}

impl Client {
    /// Sets up the client; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// When the token fits into no header, the base URL can carry no path, or TLS cannot be set up.
    pub fn new(settings: &settings::ProviderSettings, gate: Gate, metrics: Metrics) -> Result<Self, ProviderError> {
        if settings.base_url.cannot_be_a_base() || !settings.base_url.has_host() {
            return Err(ProviderError::BaseUrl);
        }
        let http =
            transport::client(Some(&settings.token), settings.connect_timeout, settings.timeout).map_err(|error| {
                match error {
                    SetupError::Token => ProviderError::Token,
                    SetupError::Client(why) => ProviderError::Setup(why),
                }
            })?;
        Ok(Self {
            http,
            base: settings.base_url.clone(),
            proxy: Proxy::of(&settings.base_url),
            rules: Rules {
                retry: settings.retry_codes.clone(),
                refused: settings.refused_codes.clone(),
                gone: settings.gone_codes.clone(),
                token: settings.token.clone(),
            },
            gate,
            metrics,
        })
    }

    /// Where passes for calls come from.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Whether calls go through a proxy, and which; for the operator.
    #[must_use]
    pub fn way(&self) -> String {
        origin::way(self.proxy.as_ref())
    }

    /// Asks what the provider knows about an asset.
    pub async fn detail(&self, pass: Pass, asset: &AssetId, trace: &TraceContext) -> Answer<Detail> {
        self.call(pass, "detail", Method::GET, ASSET, asset.as_str(), trace, |reply| {
            classify::detail(reply, &self.rules, asset.as_str())
        })
        .await
    }

    /// Deletes an asset, irreversibly. Dropping the future does not take back a call that was sent.
    pub async fn delete(&self, pass: Pass, asset: &AssetId, trace: &TraceContext) -> Answer<()> {
        let classify = |reply: &Reply| classify::delete(reply, &self.rules);
        self.call(pass, "delete", Method::DELETE, ASSET, asset.as_str(), trace, classify).await
    }

    /// Asks for the status of a generation job.
    ///
    /// The ID comes from a registry, so it is trusted less than an [`AssetId`]: one that is not 1 to 128 characters of
    /// `A-Z a-z 0-9 . _ -`, or is `.` or `..`, is [`Fault::Unreadable`] without a call.
    pub async fn job(&self, job: &str, trace: &TraceContext) -> Answer<JobStatus> {
        if !is_job_id(job) {
            return Answer::fault(Fault::Unreadable);
        }
        let pass = self.gate.pass().await;
        self.call(pass, "job", Method::GET, RESULT, job, trace, |reply| classify::job(reply, &self.rules, job)).await
    }

    /// Asks about an asset that does not exist: any answer but a fault or a refused key shows that the provider works.
    pub async fn probe(&self) -> Answer<Detail> {
        let (asset, pass) = (AssetId::probe(), self.gate.pass().await);
        self.call(pass, "probe", Method::GET, ASSET, asset.as_str(), &TraceContext::default(), |reply| {
            classify::detail(reply, &self.rules, asset.as_str())
        })
        .await
    }

    #[allow(clippy::too_many_arguments)] // what one HTTP call needs
    async fn call<T>(
        &self,
        pass: Pass,
        operation: &'static str,
        method: Method,
        folder: Folder,
        id: &str,
        trace: &TraceContext,
        classify: impl FnOnce(&Reply) -> Answer<T>,
    ) -> Answer<T> {
        let Some(url) = endpoint(&self.base, folder.path, id) else {
            return Answer::fault(Fault::Unreadable);
        };
        let started = Instant::now();
        let mut span = traces::http_call(trace, method.as_str(), Some(folder.template), &url, true);
        let answer = match self.exchange(method, url, &span.context(trace)).await {
            Ok(reply) => {
                span.answered(reply.status);
                classify(&reply)
            }
            Err((fault, seen)) => Answer { seen, ..Answer::fault(fault) },
        };
        traced(&mut span, &answer);
        let (verdict, wait) = answer.meaning.pace();
        pass.used(verdict, started.elapsed(), wait);
        self.metrics.provider_call(operation, answer.meaning.as_str(), started.elapsed());
        answer
    }

    /// The answer, or why there is none, with what is known of that.
    async fn exchange(&self, method: Method, url: Url, trace: &TraceContext) -> Result<Reply, (Fault, Option<String>)> {
        let request = transport::traced(self.http.request(method, url), trace);
        let response = request.send().await.map_err(|error| {
            let fault = transport::fault(&error);
            (fault, transport::without_answer(error))
        })?;
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| classify::retry_after(value, Timestamp::now()));
        let (status, origin) = (response.status().as_u16(), Origin::of(&response, self.proxy.as_ref()));
        Ok(Reply { status, retry_after, origin, body: transport::body(response).await })
    }
}

/// What an answer means, on the span of its call.
fn traced<T>(span: &mut Span, answer: &Answer<T>) {
    let meaning = answer.meaning.as_str();
    span.note("asset_eraser.answer", meaning);
    match &answer.meaning {
        Meaning::Retry { why, .. } => span.failed(meaning, || answer.told(why)),
        Meaning::KeyRefused(status) => span.failed(meaning, || format!("HTTP status {status}")),
        Meaning::Found(_) | Meaning::Gone | Meaning::Refused | Meaning::Unlisted => {}
    }
}

/// `base/folder/id`, or `None` when the URL would not be exactly that.
///
/// The IDs were checked before they came here. This second lock is for a later change that widens what an ID may be:
/// `Url` drops `.` and `..` silently, which would turn the `DELETE` of an asset into one of the whole collection.
fn endpoint(base: &Url, folder: [&str; 2], id: &str) -> Option<Url> {
    if id.is_empty() {
        return None;
    }
    let (path, [first, second]) = (base.path().strip_suffix('/').unwrap_or(base.path()), folder);
    let wanted = format!("{path}/{first}/{second}/{}", utf8_percent_encode(id, ID_ENCODED));
    let mut url = base.clone();
    url.set_path(&wanted);
    url.set_query(None);
    url.set_fragment(None);
    (url.path() == wanted).then_some(url)
}

fn is_job_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=JOB_ID_LIMIT).contains(&id.len()) && id != "." && id != ".." && id.bytes().all(plain)
}

#[cfg(test)]
mod tests;
