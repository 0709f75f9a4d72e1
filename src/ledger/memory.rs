//! A ledger that ends with the process: for throw-away runs and tests. It grows with every request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::LedgerError;
use super::state::{Call, Row, Verb};
use crate::message::id::RequestId;

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
}
