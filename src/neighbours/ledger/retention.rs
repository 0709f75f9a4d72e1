//! Old requests become tombstones: in the background, in steps so small that no request waits long for one.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Ledger, LedgerError};
use crate::contract::message::id::RequestId;

/// Requests in one step, which is one transaction: some milliseconds.
const STEP: u32 = 50;
/// Between two steps, as a multiple of what the last one took: so much of the ledger's time stays for requests.
const REST: u32 = 4;
/// How far the ledger's clock may be ahead of what is expected, in a round.
const SLACK: SignedDuration = SignedDuration::from_mins(10);
/// Between two rounds. What has become old meanwhile can wait so long.
const ROUND: Duration = Duration::from_secs(600);

/// Which requests one step may take.
#[derive(Clone, Debug)]
pub struct RetentionSpan {
    /// After this one, in the order in which they were decided; `None` from the first.
    pub after: Option<(Timestamp, RequestId)>,
    /// Decided before this.
    pub before: Timestamp,
    /// At most so many.
    pub most: u32,
}

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// How many became tombstones.
    pub requests: usize,
    /// Those whose evidence is not as it was written, and how: left as they are.
    pub kept: Vec<(RequestId, String)>,
    /// The last one looked at; `None` when there was none left.
    pub last: Option<(Timestamp, RequestId)>,
}

/// Makes tombstones of what was decided longer than `keep` ago, until `shutdown`.
pub async fn keep_compacting(ledger: Ledger, keep: Duration, shutdown: CancellationToken) {
    let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    let rounds = async {
        let mut clock = None;
        loop {
            // Whatever is wrong with the ledger, the requests notice it too, and stop the line for it.
            if let Err(error) = round(&ledger, keep, &mut clock).await {
                tracing::warn!(%error, "old requests were not compacted; tried again later");
            }
            tokio::time::sleep(ROUND).await;
        }
    };
    // A step that is dropped in the middle is committed or not, as a whole.
    tokio::select! { () = shutdown.cancelled() => {}, () = rounds => {} }
}

/// Whether the ledger's clock can be believed: one that jumped would turn all evidence into tombstones at once. After a
/// jump it is believed once the worker has run for as long as decisions are kept: what was decided before is that old then,
/// whatever the clock says.
#[derive(Clone, Copy, Debug)]
struct Plausible {
    keep: SignedDuration,
    /// What the clock said, and when.
    base: (Timestamp, Instant),
    /// How long after the base it is believed.
    from: SignedDuration,
}

impl Plausible {
    /// At the first round. A clock that makes even the latest decision old enough to be compacted may have jumped.
    fn new(now: Timestamp, latest: Option<Timestamp>, keep: SignedDuration) -> Self {
        let most = latest.and_then(|latest| latest.checked_add(keep.saturating_add(SLACK)).ok());
        let jumped = most.is_some_and(|most| now > most);
        Self { keep, base: (now, Instant::now()), from: if jumped { keep } else { SignedDuration::ZERO } }
    }

    /// Whether a round may go by this time.
    fn allows(&mut self, now: Timestamp) -> bool {
        let passed = self.passed();
        let expected = self.base.0.checked_add(passed.saturating_add(SLACK));
        if expected.is_ok_and(|expected| now > expected) {
            *self = Self { keep: self.keep, base: (now, Instant::now()), from: self.keep };
        }
        self.passed() >= self.from
    }

    fn passed(&self) -> SignedDuration {
        SignedDuration::try_from(self.base.1.elapsed()).unwrap_or(SignedDuration::MAX)
    }
}

/// Everything that is old now, by the ledger's clock.
async fn round(ledger: &Ledger, keep: SignedDuration, clock: &mut Option<Plausible>) -> Result<(), LedgerError> {
    let (now, latest) = (ledger.now().await?, ledger.latest_decision().await?);
    let plausible = clock.get_or_insert_with(|| Plausible::new(now, latest, keep));
    if !plausible.allows(now) {
        let why = "the ledger's clock may have jumped; nothing is compacted until this worker has run for \
                   ledger.compact_after since";
        tracing::error!(%now, "{why}");
        return Ok(());
    }
    compact_before(ledger, now.checked_sub(keep).unwrap_or(Timestamp::MIN)).await
}

/// Everything that was decided before this becomes a tombstone, in small steps with pauses between them.
///
/// # Errors
/// When the ledger cannot be written, or a row cannot be read; what was done until then stays done.
pub async fn compact_before(ledger: &Ledger, before: Timestamp) -> Result<(), LedgerError> {
    let mut span = RetentionSpan { after: None, before, most: STEP };
    let mut requests = 0;
    loop {
        let began = Instant::now();
        let done = ledger.compact(span.clone()).await?;
        for (request, what) in &done.kept {
            tracing::error!(%request, what, "the evidence of an old request was tampered with; it is kept as it is");
        }
        requests += done.requests;
        if done.last.is_none() {
            break;
        }
        span.after = done.last;
        tokio::time::sleep(began.elapsed() * REST).await;
    }
    if requests > 0 {
        tracing::info!(requests, %before, "old requests were compacted to tombstones");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_makes_everything_old_is_not_believed_at_first() {
        let at = |hours: i64| Timestamp::from_second(1_700_000_000 + hours * 3_600).unwrap();
        let keep = SignedDuration::from_hours(24);
        // A worker that was away for some hours, and one that has nothing to compact.
        for (now, latest) in [(at(20), Some(at(0))), (at(9_999), None)] {
            let mut plausible = Plausible::new(now, latest, keep);
            assert!(plausible.allows(now));
            let jumped = now.checked_add(SignedDuration::from_hours(1)).unwrap();
            assert!(!plausible.allows(jumped) && !plausible.allows(jumped), "it jumps meanwhile");
        }
        // A day and a half after the latest decision, all of them would be compacted.
        let mut plausible = Plausible::new(at(36), Some(at(0)), keep);
        assert!(!plausible.allows(at(36)));
        plausible.base = (at(36), Instant::now().checked_sub(Duration::from_secs(24 * 3_600)).unwrap());
        assert!(plausible.allows(at(60)), "what was decided before is a day old, whatever the clock says");
    }
}
