//! The ordered record of one request: its intent, its calls, its decision, in true time.

use asset_eraser::neighbours::ledger::Change;

use super::super::asks::{Ask, Kind};
use super::{Call, Event, Found, History, text, violation};

/// One entry of the ledger at the true time.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub ms: i64,
    /// `begun` for the first entry of each attempt, also where it says `deleting` because an earlier one had sent a
    /// `DELETE`; for every other entry what it says.
    pub state: &'a str,
    pub change: &'a Change,
}

/// One request with everything that belongs to it.
pub(super) struct Story<'a> {
    pub ask: &'a Ask,
    /// Its own answers, in the order in which they came.
    pub events: Vec<&'a Event>,
    /// Its own calls, in the order in which they arrived.
    pub calls: Vec<&'a Call>,
    /// Its entries in the ledger; none of a second message under the ID, as the entries are the first one's.
    pub entries: Vec<Told<'a>>,
}

impl<'a> Story<'a> {
    pub fn new(history: &'a History, ask: &'a Ask, calls: Vec<&'a Call>, events: &[&'a Event]) -> Self {
        let events = events.iter().copied().filter(|event| answers(event, ask)).collect();
        let first = !ask.kind.is_second() && ask.kind != Kind::Intruder;
        let changes = history.ledger.get(&ask.request_id).map_or(&[][..], |(_, changes)| changes);
        let changes = if first { changes } else { &[] };
        let mut attempts = 0;
        let told = |change: &'a Change| {
            let state = if change.attempts > attempts { "begun" } else { change.state.as_str() };
            attempts = attempts.max(change.attempts);
            Some(Told { ms: history.clocks.true_ms(change.at)?, state, change })
        };
        Self { ask, events, calls, entries: changes.iter().filter_map(told).collect() }
    }

    pub fn broken(&self, promise: u8, what: impl Into<String>, found: &mut Found) {
        found.push(violation(promise, what, &self.ask.request_id, &self.ask.asset_id));
    }

    pub fn deletes(&self) -> impl Iterator<Item = (usize, &'a Call)> {
        self.calls.iter().copied().enumerate().filter(|(_, call)| call.is("delete"))
    }

    pub fn entries_in(&self, state: &str) -> impl Iterator<Item = Told<'a>> {
        self.entries.iter().copied().filter(move |told| told.state == state)
    }

    /// How many entries of a state there were at a time.
    pub fn count_until(&self, state: &str, ms: i64) -> usize {
        self.entries_in(state).filter(|told| told.ms <= ms).count()
    }

    /// How many of its attempts neither put it off nor decided it.
    pub fn unended(&self) -> usize {
        let ends = |told: &&Told<'_>| matches!(told.state, "waiting" | "decided");
        let ended: Vec<u32> = self.entries.iter().filter(ends).map(|told| told.change.attempts).collect();
        self.entries_in("begun").filter(|told| !ended.contains(&told.change.attempts)).count()
    }

    /// How many attempts in a row, at the most, neither put it off nor decided it: copies that meet again after each wait
    /// take it from each other now and then, and no harm is in that.
    pub fn unended_in_a_row(&self) -> usize {
        let (mut most, mut begun) = (0, 0);
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|told| told.ms);
        for told in entries {
            match told.state {
                "begun" => begun += 1,
                "waiting" | "decided" => begun = 0,
                _ => {}
            }
            // The last one may end yet.
            most = most.max(usize::saturating_sub(begun, 1));
        }
        most
    }

    /// When it was decided.
    pub fn decided_ms(&self) -> Option<i64> {
        self.entries_in("decided").next().map(|told| told.ms)
    }

    /// When the attempt began that sent the request's `number`th `DELETE`: the one whose entry that is, or else the last
    /// one that had begun.
    pub fn begun_ms(&self, number: usize, at_ms: i64) -> Option<i64> {
        let withheld = self.count_until("not_sent", at_ms);
        let own = self.entries_in("deleting").nth(number + withheld - 1).map(|told| told.change.attempts);
        let begun = self.entries_in("begun").filter(|told| told.ms <= at_ms);
        begun.filter(|told| own.is_none_or(|attempt| told.change.attempts == attempt)).last().map(|told| told.ms)
    }

    /// Whether the ledger knows that a look has found its asset: that is on record with the `DELETE`.
    pub fn was_seen(&self) -> bool {
        self.entries_in("deleting").any(|told| told.change.why.is_some())
    }

    /// Outcome and cause of its answer.
    pub fn answer(&self) -> Option<(&'a str, &'a str)> {
        let data = &self.events.first()?.body["data"];
        Some((text(&data["outcome"]), text(&data["cause"])))
    }
}

/// Whether an event with the ask's request ID is its answer: a conflict is answered beside the request whose ID it has, and
/// so is a user who may not ask.
fn answers(event: &Event, ask: &Ask) -> bool {
    let data = &event.body["data"];
    match text(&data["cause"]) {
        "request_conflict" => ask.kind.is_second(),
        "publisher_not_allowed" => ask.kind == Kind::Intruder,
        _ => !ask.kind.is_second() && ask.kind != Kind::Intruder,
    }
}
