//! One call to the provider, one attempt, one [`Answer`].

use std::time::Instant;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use url::Url;

use super::classify::{self, Reply};
use super::limits;
use super::origin::{self, Origin, Proxy};
use super::rules::Rules;
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

/// Where an asset is, after the base URL.
const ASSET: &str = "/kyyVideo2/asset/{asset_id}";

/// The provider, as far as a deleter needs it. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// The proxy that the environment sets for it.
    proxy: Option<Proxy>,
    rules: Rules,
    /// The path, and the query if any, of a job: has `{job_id}` in it.
    job_path: String,
    /// An asset that must always be found.
    control: Option<AssetId>,
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
            rules: Rules::new(settings),
            job_path: job_path(&settings.base_url, &settings.job_url),
            control: settings.control_asset.clone(),
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
        self.look(pass, "detail", asset, trace).await
    }

    /// Asks what the provider knows about the control asset, if there is one.
    pub async fn control(&self, pass: Pass, trace: &TraceContext) -> Option<Answer<Detail>> {
        Some(self.look(pass, "control", self.control.as_ref()?, trace).await)
    }

    /// Deletes an asset, irreversibly. Dropping the future does not take back a call that was sent.
    pub async fn delete(&self, pass: Pass, asset: &AssetId, trace: &TraceContext) -> Answer<()> {
        let id = asset.as_str();
        let call =
            ProviderCall { operation: "delete", method: Method::DELETE, template: ASSET, url: self.asset_url(asset) };
        self.call(pass, call, trace, |reply| classify::delete(reply, &self.rules, id)).await
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
        let url = job_endpoint(&self.base, &self.job_path, job);
        let call = ProviderCall { operation: "job", method: Method::GET, template: &self.job_path, url };
        self.call(pass, call, trace, |reply| classify::job(reply, &self.rules, job)).await
    }

    /// Asks about the control asset, or without one about an asset that does not exist.
    pub async fn probe(&self) -> Answer<Detail> {
        let (asset, pass) = (self.control.clone().unwrap_or_else(AssetId::probe), self.gate.pass().await);
        self.look(pass, "probe", &asset, &TraceContext::default()).await
    }

    /// The asset that must always be found, if one is set.
    #[must_use]
    pub fn control_asset(&self) -> Option<&AssetId> {
        self.control.as_ref()
    }

    async fn look(&self, pass: Pass, operation: &'static str, asset: &AssetId, trace: &TraceContext) -> Answer<Detail> {
        let call = ProviderCall { operation, method: Method::GET, template: ASSET, url: self.asset_url(asset) };
        self.call(pass, call, trace, |reply| classify::detail(reply, &self.rules, asset.as_str())).await
    }

    fn asset_url(&self, asset: &AssetId) -> Option<Url> {
        let path = ASSET.replace("{asset_id}", &encoded(asset.as_str()));
        endpoint(&self.base, &after(&self.base, &path), asset.as_str())
    }

    async fn call<T>(
        &self,
        pass: Pass,
        call: ProviderCall<'_>,
        trace: &TraceContext,
        classify: impl FnOnce(&Reply) -> Answer<T>,
    ) -> Answer<T> {
        let ProviderCall { operation, method, template, url: Some(url) } = call else {
            return Answer::fault(Fault::Unreadable);
        };
        let started = Instant::now();
        let mut span = traces::http_call(trace, method.as_str(), Some(template), &url, true);
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
        let pause = limits::pause(response.headers(), Timestamp::now());
        let (status, origin) = (response.status().as_u16(), Origin::of(&response, self.proxy.as_ref()));
        Ok(Reply { status, pause, origin, body: transport::body(response).await })
    }
}

/// What an answer means, on the span of its call.
fn traced<T>(span: &mut Span, answer: &Answer<T>) {
    let meaning = answer.meaning.as_str();
    span.note("asset_eraser.answer", meaning);
    match &answer.meaning {
        Meaning::Retry { why, .. } => span.failed(meaning, || answer.told(why)),
        Meaning::KeyRefused(status) => span.failed(meaning, || format!("HTTP status {status}")),
        Meaning::Found(_) | Meaning::Gone | Meaning::InUse | Meaning::Refused | Meaning::Unlisted => {}
    }
}

/// One HTTP call.
struct ProviderCall<'a> {
    /// For metrics.
    operation: &'static str,
    method: Method,
    /// The path with a name in place of the ID, for spans.
    template: &'a str,
    /// `None` when the ID makes none.
    url: Option<Url>,
}

fn encoded(id: &str) -> String {
    utf8_percent_encode(id, ID_ENCODED).to_string()
}

/// The server of the base URL with this path, or `None` when the URL would not be exactly that.
///
/// The IDs were checked before they came here. This second lock is for a later change that widens what an ID may be:
/// `Url` drops `.` and `..` silently, which would turn the `DELETE` of an asset into one of the whole collection.
fn endpoint(base: &Url, path: &str, id: &str) -> Option<Url> {
    if id.is_empty() {
        return None;
    }
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(None);
    url.set_fragment(None);
    (url.path() == path).then_some(url)
}

/// A path after that of the base URL.
fn after(base: &Url, path: &str) -> String {
    format!("{}{path}", base.path().strip_suffix('/').unwrap_or(base.path()))
}

/// What `provider.job_url` says: a path after the base URL, or a whole URL, which the settings hold to the same server.
fn job_path(base: &Url, template: &str) -> String {
    if template.starts_with('/') {
        return after(base, template);
    }
    let path = template.splitn(4, '/').nth(3).unwrap_or_default();
    format!("/{path}")
}

/// Where a job is: the template's path, and its query if it has one.
fn job_endpoint(base: &Url, template: &str, job: &str) -> Option<Url> {
    let filled = template.replace("{job_id}", &encoded(job));
    let (path, query) = filled.split_once('?').map_or((filled.as_str(), None), |(path, query)| (path, Some(query)));
    let mut url = endpoint(base, path, job)?;
    url.set_query(query);
    Some(url)
}

fn is_job_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=JOB_ID_LIMIT).contains(&id.len()) && id != "." && id != ".." && id.bytes().all(plain)
}

#[cfg(test)]
mod tests;
