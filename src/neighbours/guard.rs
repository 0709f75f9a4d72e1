//! Is an asset in use by a generation job? Asked before every deletion; when in doubt the answer is never "free".

mod http;
mod job_states;
#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
mod postgres;
mod provider_jobs;

use crate::contract::message::id::AssetId;
use crate::contract::message::trace::TraceContext;
use crate::neighbours::provider::Client;
use crate::platform::telemetry::metrics::Metrics;
use crate::platform::telemetry::traces;
use crate::settings;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use http::Registry;
use job_states::Words;
use postgres::Table;
use provider_jobs::Confirmer;
use serde::Deserialize;
use tokio::time::Instant;

/// Oldest that a "free" may be: when the last source has answered, and when a `DELETE` is sent.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// Jobs named in a sentence about an asset in use.
const JOBS_NAMED: usize = 5;
/// How often a source is asked, at most, until the answers of all are of one moment.
const ROUNDS: usize = 3;

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
    /// The database cannot be used.
    #[error("guard.postgres.url cannot be used: {0}")]
    Postgres(String),
}

/// What the guard says about one asset, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuardAnswer {
    /// Every source answered, and no job in progress uses the asset.
    Free,
    /// At least these jobs may still use the asset.
    InUse {
        /// Their IDs as the registry gave them, cut to 128 printable characters each, and with each the status if that is
        /// an unknown word.
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

/// One job that uses the asset, as a source tells it.
#[derive(Debug, Deserialize)]
struct Job {
    id: String,
    status: String,
}

/// Asks whether an asset is in use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Guard {
    /// All of them have to say that it is free.
    sources: Vec<GuardSource>,
    /// The operator said that there is nothing to ask.
    none: bool,
    words: Words,
    /// Only when the settings want the sources' word checked with the provider.
    confirmer: Option<Confirmer>,
    metrics: Metrics,
}

#[derive(Debug, Clone)]
enum GuardSource {
    Http(Registry),
    Postgres(Table),
}

impl Guard {
    /// Sets up the sources; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// When the URL or token of a source cannot be used, or TLS cannot be set up.
    pub fn new(settings: &settings::GuardSettings, client: Client, metrics: Metrics) -> Result<Self, GuardError> {
        let http = settings.http.as_ref().map(|http| Registry::new(http).map(GuardSource::Http));
        let postgres = settings.postgres.as_ref().map(|postgres| Table::new(postgres).map(GuardSource::Postgres));
        let words = Words::new(settings.in_progress.clone());
        Ok(Self {
            sources: http.into_iter().chain(postgres).collect::<Result<_, _>>()?,
            none: settings.none,
            confirmer: settings.confirm_with_provider.then(|| Confirmer::new(client, words.clone())),
            words,
            metrics,
        })
    }

    /// One attempt to find out whether a job in progress uses `asset`. Every source is asked, at the same time.
    pub async fn check(&self, asset: &AssetId, trace: &TraceContext) -> GuardAnswer {
        if self.sources.is_empty() {
            return self.without_sources();
        }
        let heard = self.hear(asset, &[], trace).await;
        match self.confirmer.as_ref().filter(|_| !heard.jobs.is_empty()) {
            Some(confirmer) => self.confirmed(confirmer, heard, asset, trace).await,
            None => heard.answer(),
        }
    }

    /// Asks the provider about the jobs, and then every source once more: the calls wait for their turn, and another
    /// job may start meanwhile. Only jobs that the provider said have ended may be listed in the second answer.
    async fn confirmed(
        &self,
        confirmer: &Confirmer,
        heard: SourceAnswers,
        asset: &AssetId,
        trace: &TraceContext,
    ) -> GuardAnswer {
        let SourceAnswers { jobs: listed, unknown, statuses } = heard;
        let jobs = confirmer.still_running(listed.clone(), trace).await;
        self.metrics.guard_check("provider", in_use(jobs.clone()).as_str());
        if !jobs.is_empty() || unknown.is_some() {
            return SourceAnswers { jobs, unknown, statuses }.answer();
        }
        self.hear(asset, &listed, trace).await.answer()
    }

    /// What the sources say at one moment, without the jobs that have `ended`. While all of them say that the asset is
    /// free, an answer that has grown old beside the latest one is asked for again.
    async fn hear(&self, asset: &AssetId, ended: &[String], trace: &TraceContext) -> SourceAnswers {
        let mut told = join_all(self.sources.iter().map(|source| self.ask(source, asset, ended, trace))).await;
        for _ in 1..ROUNDS {
            let old = asked_again(&told);
            if old.is_empty() {
                return SourceAnswers::of(told);
            }
            for (number, answer) in self.ask_again(&old, &told, asset, ended, trace).await {
                told[number] = answer;
            }
        }
        if asked_again(&told).is_empty() { SourceAnswers::of(told) } else { SourceAnswers::apart() }
    }

    /// Asks these sources once more, the slowest first, so that their answers arrive together.
    async fn ask_again(
        &self,
        numbers: &[usize],
        told: &[SourceAnswer],
        asset: &AssetId,
        ended: &[String],
        trace: &TraceContext,
    ) -> Vec<(usize, SourceAnswer)> {
        let longest = numbers.iter().map(|number| told[*number].took).max().unwrap_or_default();
        let asking = numbers.iter().map(async |number| {
            tokio::time::sleep(longest.saturating_sub(told[*number].took)).await;
            (*number, self.ask(&self.sources[*number], asset, ended, trace).await)
        });
        join_all(asking).await
    }

    /// Whether every source answers again, asked about an asset that does not exist.
    pub async fn probe(&self) -> bool {
        let answer = self.check(&AssetId::probe(), &TraceContext::default()).await;
        !matches!(answer, GuardAnswer::Unknown { .. })
    }

    fn without_sources(&self) -> GuardAnswer {
        // The settings refuse to start without `none = true`, and so does every check.
        let why = "no guard source is configured".to_owned();
        let answer = if self.none { GuardAnswer::Free } else { GuardAnswer::Unknown { why } };
        self.metrics.guard_check("none", answer.as_str());
        answer
    }

    async fn ask(&self, source: &GuardSource, asset: &AssetId, ended: &[String], trace: &TraceContext) -> SourceAnswer {
        let began = Instant::now();
        let (name, title, jobs) = self.jobs(source, asset, trace).await;
        let counts = |job: &Job| self.counts(job) && !ended.contains(&job.id);
        let mut statuses = BTreeMap::new();
        let answer = match jobs {
            Ok(jobs) => {
                let jobs: Vec<Job> = jobs.into_iter().filter(counts).collect();
                statuses = self.unknown_statuses(&jobs, title);
                in_use(jobs.into_iter().map(|job| job.id).collect())
            }
            Err(why) => GuardAnswer::Unknown { why: format!("{title}: {why}") },
        };
        self.metrics.guard_check(name, answer.as_str());
        SourceAnswer { answer, statuses, at: Instant::now(), took: began.elapsed() }
    }

    /// The statuses that are on no list, by job.
    fn unknown_statuses(&self, jobs: &[Job], title: &str) -> BTreeMap<String, String> {
        let unknown = |job: &Job| Some((job.id.clone(), self.words.unknown(&job.status, title)?));
        jobs.iter().filter_map(unknown).collect()
    }

    /// The name of a source, its title, and its jobs or why they are not known.
    async fn jobs(
        &self,
        source: &GuardSource,
        asset: &AssetId,
        trace: &TraceContext,
    ) -> (&'static str, &'static str, Result<Vec<Job>, String>) {
        match source {
            GuardSource::Http(registry) => ("http", "job registry", registry.jobs(asset, trace).await),
            GuardSource::Postgres(table) => {
                let mut span = traces::query(trace, "SELECT jobs");
                let jobs = table.jobs(asset).await;
                if let Err(why) = &jobs {
                    span.failed("unknown", || why.clone());
                }
                ("postgres", "job table", jobs)
            }
        }
    }

    /// Whether a job counts as in progress.
    fn counts(&self, job: &Job) -> bool {
        self.words.counts(&job.status)
    }
}

/// The answer of one source.
struct SourceAnswer {
    answer: GuardAnswer,
    /// Unknown statuses, by job, as they are shown.
    statuses: BTreeMap<String, String>,
    /// When it arrived.
    at: Instant,
    took: Duration,
}

/// The answers of all sources.
struct SourceAnswers {
    jobs: Vec<String>,
    /// Why a source did not answer.
    unknown: Option<String>,
    /// Unknown statuses, by job, as they are shown.
    statuses: BTreeMap<String, String>,
}

impl SourceAnswers {
    fn of(told: Vec<SourceAnswer>) -> Self {
        let (mut jobs, mut unknown, mut statuses) = (Vec::new(), None, BTreeMap::new());
        for one in told {
            statuses.extend(one.statuses);
            match one.answer {
                GuardAnswer::Free => {}
                GuardAnswer::InUse { jobs: some } => jobs.extend(some),
                GuardAnswer::Unknown { why } => unknown = Some(why),
            }
        }
        Self { jobs, unknown, statuses }
    }

    fn apart() -> Self {
        let why = format!("the sources do not answer within {FRESH:?} of each other, although asked {ROUNDS} times");
        Self { jobs: Vec::new(), unknown: Some(why), statuses: BTreeMap::new() }
    }

    /// A job that one source has seen is enough. Without one, a source that did not answer may have had one to tell.
    fn answer(self) -> GuardAnswer {
        let jobs = self.jobs.iter().map(|job| shown(job, self.statuses.get(job))).collect();
        match (in_use(jobs), self.unknown) {
            (GuardAnswer::Free, Some(why)) => GuardAnswer::Unknown { why },
            (answer, _) => answer,
        }
    }
}

/// The sources to ask again, as their "free" is too old to be believed. All of them where a source takes so long
/// itself that the answers of the others would be too old then.
fn asked_again(told: &[SourceAnswer]) -> Vec<usize> {
    if told.iter().any(|one| one.answer != GuardAnswer::Free) {
        return Vec::new();
    }
    let old: Vec<usize> = (0..told.len()).filter(|number| told[*number].at.elapsed() > FRESH).collect();
    let slow = old.iter().any(|number| told[*number].took > FRESH);
    if slow { (0..told.len()).collect() } else { old }
}

fn in_use(jobs: Vec<String>) -> GuardAnswer {
    if jobs.is_empty() { GuardAnswer::Free } else { GuardAnswer::InUse { jobs } }
}

/// The IDs leave for events and logs here, so they are made harmless here and not before: the provider is asked about
/// a job with its exact ID or not at all.
fn shown(job: &str, status: Option<&String>) -> String {
    let id: String = job.chars().take(128).map(|c| if c.is_control() { ' ' } else { c }).collect();
    match status {
        Some(status) => format!("{id} (unknown status {status})"),
        None => id,
    }
}

/// The first few jobs: an asset may be in thousands, and this goes into an event.
pub fn named(jobs: &[String]) -> String {
    let first = jobs.iter().take(JOBS_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match jobs.len().saturating_sub(JOBS_NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
