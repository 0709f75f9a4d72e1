//! Answers that the broker has confirmed, put on record many at a time: one transaction for each would be a fourth one for
//! each deletion.

use tokio::sync::{mpsc, oneshot};

use super::connections::Connections;
use super::rows;
use crate::contract::message::id::RequestId;
use crate::neighbours::ledger::LedgerError;

/// Most answers in one transaction.
const BATCH: usize = 1_024;

type PendingHeard = (RequestId, oneshot::Sender<Result<(), LedgerError>>);

/// Hands answers to the task that records them; the task ends with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Heard(mpsc::UnboundedSender<PendingHeard>);

impl Heard {
    pub(super) fn start(connections: Connections) -> Self {
        let (heard, waiting) = mpsc::unbounded_channel();
        tokio::spawn(record(connections, waiting));
        Self(heard)
    }

    /// Records that this answer was confirmed.
    pub(super) async fn record(&self, id: &RequestId) -> Result<(), LedgerError> {
        let (to, done) = oneshot::channel();
        let ended = |()| LedgerError::corrupt("the task that records confirmed answers has ended".to_owned());
        self.0.send((id.clone(), to)).map_err(|_| ended(()))?;
        done.await.map_err(|_| ended(()))?
    }
}

async fn record(connections: Connections, mut waiting: mpsc::UnboundedReceiver<PendingHeard>) {
    while let Some(first) = waiting.recv().await {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        let ids: Vec<&str> = batch.iter().map(|(id, _)| id.as_str()).collect();
        let recorded = connections.write(async |transaction| rows::heard(transaction, &ids).await).await;
        for (_, to) in batch {
            // A caller that went away has no use for the answer.
            let _ = to.send(recorded.clone());
        }
    }
}
