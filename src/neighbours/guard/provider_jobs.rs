//! A second opinion: a job that the registry calls in progress is asked about at the provider.
//!
//! Registries lag behind; only the provider knows that a job has ended. It wants to be asked every 20 to 40 seconds at
//! most, so answers are kept for 20 seconds, whichever request asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::job_states::Words;
use crate::contract::message::trace::TraceContext;
use crate::neighbours::provider::{Client, JobStatus, Meaning};

/// How long an answer about a job is used before the provider is asked again.
const FRESH: Duration = Duration::from_secs(20);
/// How many jobs are remembered; beyond that, jobs are not asked about and count as in progress.
const CACHE_LIMIT: usize = 4_096;

/// The last answer about one job: when, and whether the job had ended. Its lock is held while the provider is asked,
/// so that two requests with the same job make one call.
type Slot = Arc<tokio::sync::Mutex<Option<(Instant, bool)>>>;

/// Asks the provider about jobs, seldom. Clones share what they know.
#[derive(Debug, Clone)]
pub(super) struct Confirmer {
    client: Client,
    words: Words,
    slots: Arc<Mutex<HashMap<String, Slot>>>,
    /// [`FRESH`], but for tests.
    pub(super) fresh: Duration,
}

impl Confirmer {
    pub(super) fn new(client: Client, words: Words) -> Self {
        Self { client, words, slots: Arc::default(), fresh: FRESH }
    }

    /// Which of these jobs may still be running; empty when the provider says of every one that it has ended.
    ///
    /// Stops asking at the first that has not: the asset is in use then, whatever the others do, and a provider that
    /// does not answer costs one timeout here, not one a job.
    pub(super) async fn still_running(&self, jobs: Vec<String>, trace: &TraceContext) -> Vec<String> {
        let mut ended = 0;
        for job in &jobs {
            if !self.has_ended(job, trace).await {
                break;
            }
            ended += 1;
        }
        jobs.into_iter().skip(ended).collect()
    }

    async fn has_ended(&self, job: &str, trace: &TraceContext) -> bool {
        let Some(slot) = self.slot(job) else {
            return false;
        };
        let mut known = slot.lock().await;
        if let Some((at, ended)) = *known
            && at.elapsed() < self.fresh
        {
            return ended;
        }
        // Before the call: if this future is dropped inside it, the call still counts against the 20 seconds.
        *known = Some((Instant::now(), false));
        let answer = self.client.job(job, trace).await;
        let ended = match answer.meaning {
            Meaning::Found(JobStatus::Other(word)) => {
                self.words.unknown(&word, "provider");
                false
            }
            Meaning::Found(status) => status.is_finished(),
            // Also "gone": a job that the provider does not know may be one that it does not know *yet*.
            Meaning::Gone
            | Meaning::InUse
            | Meaning::Refused
            | Meaning::Retry { .. }
            | Meaning::KeyRefused(_)
            | Meaning::Unlisted => false,
        };
        *known = Some((Instant::now(), ended));
        ended
    }

    /// The slot of a job; `None` when too many jobs were asked about in the last seconds.
    fn slot(&self, job: &str) -> Option<Slot> {
        // A panic elsewhere cannot leave the map half changed, so a poisoned lock is as good as any.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(job) {
            return Some(Arc::clone(slot));
        }
        if slots.len() >= CACHE_LIMIT {
            // A slot that a request holds, or that is still fresh, has to stay: it is what limits the calls.
            slots.retain(|_, slot| {
                Arc::strong_count(slot) > 1
                    || slot.try_lock().map_or(true, |known| known.is_some_and(|(at, _)| at.elapsed() < self.fresh))
            });
        }
        (slots.len() < CACHE_LIMIT).then(|| Arc::clone(slots.entry(job.to_owned()).or_default()))
    }
}
