//! Old requests become tombstones: in the background, in steps so small that no request waits long for one.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Ledger, LedgerError};
use crate::message::id::RequestId;

/// Requests in one step, which is one transaction: some milliseconds.
const STEP: u32 = 50;
/// Between two steps, as a multiple of what the last one took: so much of the ledger's time stays for requests.
const REST: u32 = 4;
/// Between two rounds. What has become old meanwhile can wait so long.
const ROUND: Duration = Duration::from_secs(600);

/// Which requests one step may take.
#[derive(Clone, Debug)]
pub struct Span {
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
    let rounds = async {
        loop {
            // Whatever is wrong with the ledger, the requests notice it too, and stop the line for it.
            if let Err(error) = round(&ledger, keep).await {
                tracing::warn!(%error, "old requests were not compacted; tried again later");
            }
            tokio::time::sleep(ROUND).await;
        }
    };
    // A step that is dropped in the middle is committed or not, as a whole.
    tokio::select! { () = shutdown.cancelled() => {}, () = rounds => {} }
}

/// Everything that is old now.
async fn round(ledger: &Ledger, keep: Duration) -> Result<(), LedgerError> {
    let age = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    let before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
    let mut span = Span { after: None, before, most: STEP };
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
