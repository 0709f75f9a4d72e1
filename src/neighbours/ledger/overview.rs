//! What is open, and what was decided lately, for a person who looks.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::clock::to_millisecond;
use super::row::{Row, State};
use super::{Entry, Ledger, LedgerError, LedgerStore};
use crate::contract::message::id::RequestId;

/// Decisions looked at, the latest first: more would keep others waiting who ask the ledger.
const MOST_DECIDED: u32 = 100_000;

/// The ledger at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Requests that an attempt was begun for and not ended: running, or interrupted and about to come back.
    pub begun: OpenRequests,
    /// Requests that wait.
    pub waiting: OpenRequests,
    /// Decisions by minute and outcome.
    pub decided: BTreeMap<Timestamp, BTreeMap<String, u64>>,
    /// Whether there were more decisions than are looked at, so that the earliest are missing.
    pub cut: bool,
}

/// Requests in one state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenRequests {
    /// How many there are.
    pub count: u64,
    /// The oldest of them.
    pub oldest: Vec<Entry>,
}

/// What a store says.
#[derive(Debug, Default)]
pub(super) struct StoreOverview {
    /// How many are in each state that is not decided.
    pub(super) counts: Vec<(State, u64)>,
    /// The oldest in each of these states.
    pub(super) oldest: Vec<(RequestId, Row)>,
    /// Minute, outcome, decisions.
    pub(super) decided: Vec<(Timestamp, String, u64)>,
}

/// What is asked of a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) since: Timestamp,
    /// Of the oldest in each state.
    pub(super) most: u32,
    pub(super) most_decided: u32,
}

/// The states that are not decided, in the order of a request.
pub(super) const OPEN: [State; 5] = [State::Begun, State::BackedUp, State::Deleting, State::NotSent, State::Waiting];

impl Ledger {
    /// How many requests are open, `most` of the oldest in each state, and what was decided since then.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a row cannot.
    pub async fn overview(&self, since: Timestamp, most: u32) -> Result<Overview, LedgerError> {
        let asking = Asking { since: to_millisecond(since), most, most_decided: MOST_DECIDED };
        let found = match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.overview(asking).await?,
            LedgerStore::Postgres(postgres) => postgres.overview(asking).await?,
        };
        Ok(found.told(most))
    }
}

impl StoreOverview {
    fn told(self, most: u32) -> Overview {
        let mut overview = Overview::default();
        for (state, count) in self.counts {
            overview.of(state).count += count;
        }
        for (id, row) in self.oldest {
            let state = row.state;
            overview.of(state).oldest.push(row.entry(id));
        }
        for open in [&mut overview.begun, &mut overview.waiting] {
            open.oldest.sort_by_key(|entry| entry.first_seen);
            open.oldest.truncate(most as usize);
        }
        let total: u64 = self.decided.iter().map(|(_, _, count)| count).sum();
        for (minute, outcome, count) in self.decided {
            *overview.decided.entry(minute).or_default().entry(outcome).or_default() += count;
        }
        overview.cut = total >= MOST_DECIDED.into();
        overview
    }
}

impl Overview {
    fn of(&mut self, state: State) -> &mut OpenRequests {
        if state == State::Waiting { &mut self.waiting } else { &mut self.begun }
    }
}
