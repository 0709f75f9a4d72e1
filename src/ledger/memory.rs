//! A ledger that ends with the process: for throw-away runs and tests. It grows with every request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::history::{self, Change};
use super::state::{Call, Row, Verb, asset_state};
use super::{Evidence, LedgerError};
use crate::message::id::{AssetId, RequestId};

type Rows = BTreeMap<RequestId, (Row, Vec<Change>)>;

/// The rows, shared by every clone.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    rows: Arc<Mutex<Rows>>,
}

impl Memory {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Held for a few map operations and never across an await. A panic inside cannot leave a row half written, as
        // rows are replaced whole, so a poisoned lock is as good as any.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn run<T, F: Verb<T>>(&self, call: Call<F>) -> Result<T, LedgerError> {
        let mut rows = self.rows();
        let Call { id, verb } = call;
        let (row, mut changes) =
            rows.get(&id).cloned().map_or((None, Vec::new()), |(row, changes)| (Some(row), changes));
        match verb(row) {
            Ok(step) => {
                if let Some(mut row) = step.write {
                    changes.push(history::append(&id, &mut row));
                    rows.insert(id, (row, changes));
                }
                Ok(step.reply)
            }
            Err(illegal) => Err(LedgerError::illegal(&id, illegal)),
        }
    }

    /// The row that says most about the asset.
    pub(super) fn asset(&self, asset: &AssetId) -> Option<(RequestId, Row)> {
        let rows = self.rows();
        let own = rows.iter().filter(|(_, (row, _))| row.asset_id.as_deref() == Some(asset.as_str()));
        let strongest = own.min_by_key(|(_, (row, _))| (asset_state(row), row.first_seen));
        strongest.map(|(id, (row, _))| (id.clone(), row.clone()))
    }

    pub(super) fn find(&self, key: &str, most: u32) -> Vec<Evidence> {
        let rows = self.rows();
        let about = |id: &RequestId, row: &Row| {
            id.as_str() == key || [&row.asset_id, &row.case_id].into_iter().any(|text| text.as_deref() == Some(key))
        };
        let found = rows.iter().filter(|(id, (row, _))| about(id, row));
        let mut found: Vec<_> = found.map(evidence).collect();
        found.sort_by_key(|(_, row, _)| row.first_seen);
        found.truncate(most as usize);
        found
    }

    pub(super) fn page(&self, after: &str, most: u32) -> Vec<Evidence> {
        let rows = self.rows();
        rows.iter().filter(|(id, _)| id.as_str() > after).take(most as usize).map(evidence).collect()
    }
}

fn evidence((id, (row, changes)): (&RequestId, &(Row, Vec<Change>))) -> Evidence {
    (id.clone(), row.clone(), changes.clone())
}
