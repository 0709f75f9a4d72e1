//! Is an asset in use by a generation job? Asked before every deletion; when in doubt the answer is never "free".

mod confirm;
mod http;

use crate::config;
use crate::message::id::AssetId;
use crate::message::trace::TraceContext;
use crate::provider::Client;
use crate::telemetry::metrics::Metrics;

use confirm::Confirmer;
use http::{Registry, RegistryJob};

/// The statuses under which a job needs its assets no longer. Every other word counts as in progress.
const FINISHED: [&str; 5] = ["completed", "failed", "cancelled", "canceled", "succeeded"];

/// Why a guard could not be made. Names the setting, never its value.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The template makes no URL.
    #[error("guard.http.url must be an http or https URL with {{asset_id}} in its path or query")]
    Url,
    /// The token cannot be sent.
    #[error("guard.http.token holds a character that an HTTP header cannot carry (a line break at its end?)")]
    Token,
    /// TLS or the HTTP client could not be set up.
    #[error("the HTTP client of the job registry cannot be set up: {0}")]
    Setup(String),
}

/// What the guard says about one asset, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuardAnswer {
    /// Every source answered, and no job in progress uses the asset.
    Free,
    /// At least these jobs may still use the asset.
    InUse {
        /// Their IDs as the registry gave them, cut to 128 printable characters each.
        jobs: Vec<String>,
    },
    /// A source gave no usable answer; the asset must be treated as in use.
    Unknown {
        /// Why, for a person.
        why: String,
    },
}

impl GuardAnswer {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::InUse { .. } => "in_use",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// Asks whether an asset is in use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Guard {
    source: Source,
    in_progress: Vec<String>,
    /// Only when the settings want the registry's word checked with the provider.
    confirmer: Option<Confirmer>,
    metrics: Metrics,
}

#[derive(Debug, Clone)]
enum Source {
    Http(Registry),
    /// The operator said that there is nothing to ask.
    None,
    /// Neither a source nor `none = true`; the settings refuse it, and so does every check.
    Missing,
}

impl Guard {
    /// Sets up the sources; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// When the registry's URL or token cannot be used, or TLS cannot be set up.
    pub fn new(settings: &config::Guard, client: Client, metrics: Metrics) -> Result<Self, GuardError> {
        let source = match &settings.http {
            Some(http) => Source::Http(Registry::new(http)?),
            None if settings.none => Source::None,
            None => Source::Missing,
        };
        Ok(Self {
            source,
            in_progress: settings.in_progress.clone(),
            confirmer: settings.confirm_with_provider.then(|| Confirmer::new(client)),
            metrics,
        })
    }

    /// One attempt to find out whether a job in progress uses `asset`.
    pub async fn check(&self, asset: &AssetId, trace: &TraceContext) -> GuardAnswer {
        let (name, answer) = match &self.source {
            Source::Http(registry) => ("http", self.ask(registry, asset, trace).await),
            Source::None => ("none", GuardAnswer::Free),
            Source::Missing => {
                let why = "no guard source is configured".to_owned();
                ("none", GuardAnswer::Unknown { why })
            }
        };
        self.metrics.guard_check(name, answer.as_str());
        match (answer, &self.confirmer) {
            (GuardAnswer::InUse { jobs }, Some(confirmer)) => {
                let answer = in_use(confirmer.still_running(jobs, trace).await);
                self.metrics.guard_check("provider", answer.as_str());
                shown(answer)
            }
            (answer, _) => shown(answer),
        }
    }

    async fn ask(&self, registry: &Registry, asset: &AssetId, trace: &TraceContext) -> GuardAnswer {
        match registry.jobs(asset, trace).await {
            Ok(jobs) => in_use(jobs.into_iter().filter(|job| self.counts(job)).map(|job| job.id).collect()),
            Err(why) => GuardAnswer::Unknown { why: format!("job registry: {why}") },
        }
    }

    /// Whether a job counts as in progress: its status is listed as such, or is not known to be an end.
    fn counts(&self, job: &RegistryJob) -> bool {
        let listed = |word: &String| word.eq_ignore_ascii_case(&job.status);
        self.in_progress.iter().any(listed) || !FINISHED.contains(&job.status.as_str())
    }
}

fn in_use(jobs: Vec<String>) -> GuardAnswer {
    if jobs.is_empty() { GuardAnswer::Free } else { GuardAnswer::InUse { jobs } }
}

/// The IDs leave for events and logs here, so they are made harmless here and not before: the provider is asked about
/// a job with its exact ID or not at all.
fn shown(answer: GuardAnswer) -> GuardAnswer {
    let harmless = |job: String| job.chars().take(128).map(|c| if c.is_control() { ' ' } else { c }).collect();
    match answer {
        GuardAnswer::InUse { jobs } => GuardAnswer::InUse { jobs: jobs.into_iter().map(harmless).collect() },
        other => other,
    }
}

#[cfg(test)]
mod tests;
