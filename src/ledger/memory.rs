//! A ledger that ends with the process: for throw-away runs and tests. It grows with every request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::LedgerError;
use super::state::{Call, Row, Verb, asset_state};
use crate::message::id::{AssetId, RequestId};

/// The rows, shared by every clone.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    rows: Arc<Mutex<HashMap<RequestId, Row>>>,
}

impl Memory {
    pub(super) fn run<T, F: Verb<T>>(&self, call: Call<F>) -> Result<T, LedgerError> {
        // Held for a few map operations and never across an await. A panic inside cannot leave a row half written, as
        // rows are replaced whole, so a poisoned lock is as good as any.
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let Call { id, verb } = call;
        match verb(rows.get(&id).cloned()) {
            Ok(step) => {
                if let Some(row) = step.write {
                    rows.insert(id, row);
                }
                Ok(step.reply)
            }
            Err(illegal) => Err(LedgerError::illegal(&id, illegal)),
        }
    }

    /// The row that says most about the asset.
    pub(super) fn asset(&self, asset: &AssetId) -> Option<(RequestId, Row)> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let own = rows.iter().filter(|(_, row)| row.asset_id.as_deref() == Some(asset.as_str()));
        own.min_by_key(|(_, row)| (asset_state(row), row.first_seen)).map(|(id, row)| (id.clone(), row.clone()))
    }
}
