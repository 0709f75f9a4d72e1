//! Decided requests become tombstones.

use deadpool_postgres::Transaction;

use super::rows;
use crate::neighbours::ledger::history;
use crate::neighbours::ledger::retention::{Compacted, RetentionSpan};
use crate::neighbours::ledger::row::{Decision, KeptDetails};
use crate::platform::postgres::PostgresFault;

/// One step. Evidence that is not as it was written is kept, for an operator to look into.
pub(super) async fn compact(transaction: &Transaction<'_>, span: &RetentionSpan) -> Result<Compacted, PostgresFault> {
    let mut done = Compacted::default();
    let (mut ids, mut seals, mut heads, mut requests) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (id, mut row, changes) in rows::to_compact(transaction, span).await? {
        done.last = Some((row.updated, id.clone()));
        if let Some(what) = history::problem(&id, &row, &changes) {
            done.kept.push((id, what));
            continue;
        }
        history::seal(&id, &mut row);
        if let Some(Decision { kept: KeptDetails::Sealed(seal), .. }) = row.decision {
            ids.push(id.to_string());
            seals.push(seal);
            heads.push(row.chain.head);
            requests.push(row.request);
        }
    }
    done.requests = ids.len();
    rows::seal(transaction, &ids, &seals, &heads, &requests).await?;
    Ok(done)
}
