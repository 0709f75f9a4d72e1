//! A ledger that ends with the process: for throw-away runs and tests. It grows with every request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use uuid::Uuid;

use super::brake::{BrakeLimit, Braking, Release};
use super::history::{self, Change};
use super::overview::{Asking, OPEN, StoreOverview, minute};
use super::retention::{Compacted, RetentionSpan};
use super::row::{Decision, KeptDetails, Row};
use super::state::{Call, Verb, Write, asset_state};
use super::{Case, Evidence, LedgerError, OutcomeCounts};
use crate::contract::message::id::{AssetId, CaseId, RequestId};
use crate::settings::BrakeSettings;

type Rows = BTreeMap<RequestId, (Row, Vec<Change>)>;

/// What is kept, shared by every clone.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<MemoryRows>>);

#[derive(Debug)]
struct MemoryRows {
    id: Uuid,
    rows: Rows,
    /// The size of those that have one, and the event that ends them.
    cases: BTreeMap<CaseId, (u32, Option<String>)>,
    /// Rejected messages that have no row of their own, by case and name, and when they came.
    conflicts: BTreeMap<(CaseId, Uuid), Timestamp>,
    /// Decided requests by case and outcome.
    decided: BTreeMap<String, OutcomeCounts>,
    /// Deletions begun, by the end of their bucket.
    begun: BTreeMap<i64, u64>,
    last_release: Option<Release>,
}

impl Default for MemoryRows {
    fn default() -> Self {
        Self {
            id: Uuid::new_v4(),
            rows: Rows::default(),
            cases: BTreeMap::default(),
            conflicts: BTreeMap::default(),
            decided: BTreeMap::default(),
            begun: BTreeMap::default(),
            last_release: None,
        }
    }
}

impl MemoryRows {
    fn deletions(&self, limit: &BrakeLimit) -> u64 {
        self.begun.range(limit.past + 1..).map(|(_, deletions)| deletions).sum()
    }

    /// Counts a deletion if there is room; else how many there are.
    fn count(&mut self, limit: &BrakeLimit) -> Result<(), u64> {
        let deletions = self.deletions(limit);
        if deletions >= limit.most {
            return Err(deletions);
        }
        self.begun.retain(|until, _| *until > limit.past);
        *self.begun.entry(limit.bucket).or_default() += 1;
        Ok(())
    }
}

impl Memory {
    fn inner(&self) -> MutexGuard<'_, MemoryRows> {
        // Held for a few map operations and never across an await. A panic inside cannot leave a row half written, as
        // rows are replaced whole, so a poisoned lock is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn run<T, F: Verb<T>>(&self, call: Call<F>) -> Result<T, LedgerError> {
        let inner = &mut *self.inner();
        let Call { id, brake, clock, verb } = call;
        let now = clock.time(Timestamp::now());
        let limit = brake.map(|brake| BrakeLimit::at(&brake, now));
        let (row, mut changes) =
            inner.rows.get(&id).cloned().map_or((None, Vec::new()), |(row, changes)| (Some(row), changes));
        match verb(row, now) {
            Ok(step) => {
                if let (Some(limit), Some(braked)) = (limit, step.braked)
                    && let Err(deletions) = inner.count(&limit)
                {
                    return Ok(braked(deletions));
                }
                let MemoryRows { rows, decided, .. } = inner;
                if let Some(Write { mut row, entry }) = step.write {
                    changes.extend(entry.then(|| history::append(&id, &mut row)));
                    // A row is written with a decision once: when it is taken.
                    if let (Some(case), Some(decision)) = (&row.case_id, &row.decision) {
                        let counts = decided.entry(case.clone()).or_default();
                        *counts.entry(decision.outcome.clone()).or_default() += 1;
                    }
                    rows.insert(id, (*row, changes));
                }
                Ok(step.reply)
            }
            Err(illegal) => Err(LedgerError::illegal(&id, illegal)),
        }
    }

    pub(super) fn load(&self, id: &RequestId) -> Option<Row> {
        self.inner().rows.get(id).map(|(row, _)| row.clone())
    }

    /// The row that says most about the asset.
    pub(super) fn asset(&self, asset: &AssetId) -> Option<(RequestId, Row)> {
        let rows = &self.inner().rows;
        let own = rows.iter().filter(|(_, (row, _))| row.asset_id.as_deref() == Some(asset.as_str()));
        let strongest = own.min_by_key(|(_, (row, _))| (asset_state(row), row.first_seen));
        strongest.map(|(id, (row, _))| (id.clone(), row.clone()))
    }

    pub(super) fn find(&self, key: &str, most: u32) -> Vec<Evidence> {
        let rows = &self.inner().rows;
        let about = |id: &RequestId, row: &Row| {
            id.as_str() == key || [&row.asset_id, &row.case_id].into_iter().any(|text| text.as_deref() == Some(key))
        };
        let found = rows.iter().filter(|(id, (row, _))| about(id, row));
        let mut found: Vec<_> = found.map(evidence).collect();
        found.sort_by_key(|(_, row, _)| row.first_seen);
        found.truncate(most as usize);
        found
    }

    pub(super) fn overview(&self, asking: Asking) -> StoreOverview {
        let rows = &self.inner().rows;
        let mut found = StoreOverview::default();
        for state in OPEN {
            let own = rows.iter().filter(|(_, (row, _))| row.state == state);
            let mut own: Vec<_> = own.map(|(id, (row, _))| (id.clone(), row.clone())).collect();
            own.sort_by_key(|(_, row)| row.first_seen);
            found.counts.push((state, own.len() as u64));
            own.truncate(asking.most as usize);
            found.oldest.extend(own);
        }
        let decided = rows.values().filter(|(row, _)| row.updated >= asking.since);
        let decided = decided.filter_map(|(row, _)| row.decision.as_ref().map(|decision| (row, decision)));
        let whole = decided.filter(|(_, decision)| matches!(decision.kept, KeptDetails::Event(_)));
        found.decided = whole.map(|(row, decision)| (minute(row.updated), decision.outcome.clone(), 1)).collect();
        found.decided.sort();
        let more = found.decided.len().saturating_sub(asking.most_decided as usize);
        found.decided.drain(..more);
        found
    }

    pub(super) fn case_size(&self, case: &CaseId, size: u32) -> u32 {
        self.inner().cases.entry(case.clone()).or_insert((size, None)).0
    }

    pub(super) fn case(&self, case: &CaseId) -> Option<Case> {
        let inner = self.inner();
        let (size, event) = inner.cases.get(case).cloned()?;
        let decided = inner.decided.get(case.as_str()).cloned().unwrap_or_default();
        Some(Case { size, decided, event })
    }

    pub(super) fn complete_case(
        &self,
        case: &CaseId,
        now: Timestamp,
        event: impl FnOnce(&OutcomeCounts, Timestamp) -> String,
    ) -> Option<String> {
        let MemoryRows { rows, cases, conflicts, .. } = &mut *self.inner();
        let (size, recorded) = cases.get_mut(case)?;
        let own = rows.iter().filter(|(_, (row, _))| row.case_id.as_deref() == Some(case.as_str()));
        let own = own.filter_map(|(id, (row, _))| Some((row.updated, id.to_string(), row.decision.as_ref()?)));
        let mut decided: Vec<_> = own.map(|(at, name, decision)| (at, name, decision.outcome.clone())).collect();
        let others = conflicts.iter().filter(|((of, _), _)| of == case);
        decided.extend(others.map(|((_, message), at)| (*at, message.to_string(), "rejected".to_owned())));
        decided.sort();
        let mut counts = OutcomeCounts::new();
        for (_, _, outcome) in decided.into_iter().take(*size as usize) {
            *counts.entry(outcome).or_default() += 1;
        }
        Some(recorded.get_or_insert_with(|| event(&counts, now)).clone())
    }

    pub(super) fn count_conflict(&self, case: &CaseId, message: Uuid) {
        let MemoryRows { conflicts, decided, .. } = &mut *self.inner();
        if conflicts.insert((case.clone(), message), Timestamp::now()).is_none() {
            *decided.entry(case.to_string()).or_default().entry("rejected".to_owned()).or_default() += 1;
        }
    }

    pub(super) fn heard(&self, id: &RequestId) {
        if let Some((row, _)) = self.inner().rows.get_mut(id) {
            row.heard = row.decision.is_some();
        }
    }

    pub(super) fn latest_decision(&self) -> Option<Timestamp> {
        let rows = &self.inner().rows;
        rows.values().filter(|(row, _)| compactable(row)).map(|(row, _)| row.updated).max()
    }

    pub(super) fn id(&self) -> Uuid {
        self.inner().id
    }

    pub(super) fn braking(&self, limit: &BrakeLimit) -> Braking {
        let inner = self.inner();
        Braking { deletions: inner.deletions(limit), last_release: inner.last_release }
    }

    pub(super) fn release_brake(&self, brake: &BrakeSettings, at: Timestamp) -> Release {
        let mut inner = self.inner();
        let deletions = inner.deletions(&BrakeLimit::at(brake, at));
        inner.begun.clear();
        *inner.last_release.insert(Release { at, deletions })
    }

    pub(super) fn compact(&self, span: &RetentionSpan) -> Compacted {
        let rows = &mut self.inner().rows;
        let place = |id: &RequestId, row: &Row| (row.updated, id.clone());
        let old = rows.iter().filter(|(id, (row, _))| {
            compactable(row)
                && row.updated < span.before
                && span.after.as_ref().is_none_or(|after| place(id, row) > *after)
        });
        let mut old: Vec<_> = old.map(|(id, (row, _))| place(id, row)).collect();
        old.sort();
        old.truncate(span.most as usize);
        for (_, id) in &old {
            if let Some((row, changes)) = rows.get_mut(id) {
                history::seal(id, row);
                changes.clear();
            }
        }
        Compacted { requests: old.len(), kept: Vec::new(), last: old.pop() }
    }

    pub(super) fn page(&self, after: &str, most: u32) -> Vec<Evidence> {
        let rows = &self.inner().rows;
        rows.iter().filter(|(id, _)| id.as_str() > after).take(most as usize).map(evidence).collect()
    }
}

/// Whether a row may become a tombstone.
fn compactable(row: &Row) -> bool {
    row.heard && matches!(row.decision, Some(Decision { kept: KeptDetails::Event(_), .. }))
}

fn evidence((id, (row, changes)): (&RequestId, &(Row, Vec<Change>))) -> Evidence {
    (id.clone(), row.clone(), changes.clone())
}
