//! Promise 7: what was to be kept is whole, was read back in the same attempt, and nothing else was fetched.

use super::super::asks::Kind;
use super::story::Story;
use super::{Found, History, violation};

impl History {
    pub(super) fn keeps(&self, story: &Story<'_>, found: &mut Found) {
        if story.ask.kind != Kind::Kept || story.deletes().next().is_none() {
            return;
        }
        let Some(event) = story.events.first() else { return };
        if !self.copies.are_whole(&story.ask.asset_id, &event.body["data"]["backup"]) {
            story.broken(7, "a DELETE without a whole copy", found);
        }
        // Of a tombstone the entries are gone.
        if story.entries_in("begun").next().is_none() {
            return;
        }
        let place = |state: &str| story.entries.iter().position(|told| told.state == state);
        if place("backed_up").is_none_or(|at| place("deleting").is_none_or(|deleting| deleting < at)) {
            story.broken(7, "a DELETE before a copy was on record", found);
        }
        if self.conditions.bucket {
            self.read_back(story, found);
        }
    }

    /// Each attempt that sent a `DELETE` has read the bytes of a copy before it.
    fn read_back(&self, story: &Story<'_>, found: &mut Found) {
        let folder = format!("/{}/{}/asset-", story.ask.asset_id, story.ask.request_id);
        for (number, (_, call)) in (1..).zip(story.deletes()) {
            let Some(begun) = story.begun_ms(number, call.at_ms) else { continue };
            let within = begun..=call.at_ms;
            let read = |key: &str, at_ms| key.contains(&folder) && within.contains(&at_ms);
            if !self.copies.reads.iter().any(|one| read(&one.key, one.at_ms)) {
                story.broken(7, "a DELETE whose attempt had not read the copy back", found);
            }
        }
    }

    /// Only assets that are to be kept are fetched.
    pub(super) fn fetched(&self, found: &mut Found) {
        let kept = |asset: &str| self.asks.iter().any(|ask| ask.kind == Kind::Kept && ask.asset_id == asset);
        for call in self.calls.iter().filter(|call| call.is("file")) {
            let asset = call.asset.as_deref().unwrap_or_default();
            if !kept(asset) {
                found.push(violation(7, "the bytes of an asset that no request wanted to keep", "", asset));
            }
        }
    }
}
