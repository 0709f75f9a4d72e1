//! Limits that an operator or a requester sets: deadlines, the brake, how often a request may crash a worker, how long the
//! ledger keeps an event.

use super::super::plan::Store;
use super::story::Story;
use super::{Found, History, violation};

/// A `DELETE` that was sent in time may arrive so much later.
const DEADLINE_GRACE_MS: i64 = 500;
/// The time in an entry is so much older than its commit at most, and a release may come between the two.
const COMMIT_MS: i64 = 500;

/// An interruption is felt so long after it: connections are made anew, and messages handed out again.
const SETTLING_MS: i64 = 5_000;

impl History {
    /// No `DELETE` arrives after the deadline, and no event is lost to the compaction.
    pub(super) fn in_time(&self, story: &Story<'_>, found: &mut Found) {
        self.before_deadline(story, found);
        let row = self.ledger.get(&story.ask.request_id);
        if !story.ask.kind.is_second() && row.is_some_and(|(entry, _)| entry.outcome.is_some() && entry.event.is_none())
        {
            story.broken(4, "its event was compacted away long before ledger.compact_after", found);
        }
    }

    fn before_deadline(&self, story: &Story<'_>, found: &mut Found) {
        // The deadline of a worker with a file for its ledger is measured by the worker's clock.
        if self.store == Store::Sqlite && self.clocks.jumped() {
            return;
        }
        let Some(deadline) = self.deadlines.get(&story.ask.request_id) else { return };
        for (_, call) in story.deletes().filter(|(_, call)| call.at_ms > deadline + DEADLINE_GRACE_MS) {
            story.broken(3, format!("a DELETE {} ms after the deadline", call.at_ms - deadline), found);
        }
    }

    /// A request fails for crashes only if so many of its own attempts never ended.
    pub(super) fn crashes(&self, story: &Story<'_>, found: &mut Found) {
        if story.answer() != Some(("failed", "attempts_exhausted")) {
            return;
        }
        let crashed = story.unended();
        let limit = self.conditions.delivery_limit.unwrap_or(1000) as usize;
        if crashed < limit || self.kills < limit {
            let what = format!("failed as exhausted after {crashed} attempts that never ended");
            story.broken(1, what, found);
        }
    }

    /// The copies of a request take it over from each other only after an interruption, and once more at most.
    pub(super) fn taken_away(&self, story: &Story<'_>, found: &mut Found) {
        let Some(first) = story.entries_in("begun").next() else { return };
        let life = first.ms - SETTLING_MS..=story.decided_ms().unwrap_or(i64::MAX);
        let during = |(began, ended): &&(i64, i64)| began <= life.end() && *ended + SETTLING_MS >= *life.start();
        let interruptions = self.interruptions.iter().filter(during).count();
        let copies = self.asks.iter().filter(|ask| ask.traceparent == story.ask.traceparent).count();
        let taken = story.unended_in_a_row();
        if taken > copies * (interruptions + 1) + 1 {
            let times = format!("{taken} of its attempts in a row were taken over");
            let allowed = format!("with {copies} copies and {interruptions} interruptions");
            story.broken(1, format!("{times}, {allowed}"), found);
        }
    }

    /// Between two releases no more deletions begin than the brake allows. Its window is longer than a run.
    pub(super) fn brake(&self, found: &mut Found) {
        // A jump of the worker's clock lets the window pass where the ledger has the worker's times.
        if self.store == Store::Sqlite && self.clocks.jumped() {
            return;
        }
        let Some(limit) = self.conditions.brake else { return };
        let first = |story: &Story<'_>| Some(story.entries_in("deleting").next()?.ms);
        let beginnings: Vec<i64> = self.stories().iter().filter_map(first).collect();
        let marks: Vec<(i64, i64)> =
            [(0, 0)].into_iter().chain(self.releases.iter().copied()).chain([(i64::MAX, i64::MAX)]).collect();
        for (from, (_, after)) in marks.iter().enumerate() {
            for (to, (before, _)) in marks.iter().enumerate().skip(from + 1) {
                let last = before.saturating_sub(if *before == i64::MAX { 0 } else { COMMIT_MS });
                let began = beginnings.iter().filter(|ms| (*after + 1..last).contains(*ms)).count();
                if began > limit * (to - from) {
                    let what =
                        format!("{began} deletions began between {} releases, and the limit is {limit}", to - from - 1);
                    found.push(violation(3, what, "", ""));
                    return;
                }
            }
        }
    }
}
