//! Promises 1, 4 and 5: one answer each, one that fits, and one that is true.

use std::collections::{BTreeMap, BTreeSet};

use super::super::asks::Kind;
use super::story::Story;
use super::{Call, Event, Found, History, text, violation};

impl History {
    pub(super) fn answers(&self, story: &Story<'_>, found: &mut Found) {
        let ask = story.ask;
        let Some((outcome, cause)) = story.answer() else {
            let second = ask.kind.is_second();
            let what =
                if second { "a second message under its ID was not refused as a conflict" } else { "has no answer" };
            return story.broken(if second { 4 } else { 1 }, what, found);
        };
        let exhausted = (outcome, cause) == ("failed", "attempts_exhausted");
        let was_buried = self.buried.contains(&ask.request_id);
        if !exhausted && was_buried != ask.kind.is_buried() && !self.shares_id(story) {
            story.broken(1, "is buried, or should be", found);
        }
        let ids: BTreeSet<&str> = story.events.iter().map(|event| text(&event.body["id"])).collect();
        let contents: BTreeSet<&str> = story.events.iter().map(|event| event.text.as_str()).collect();
        if (ids.len(), contents.len()) != (1, 1) {
            story.broken(4, format!("has {} event IDs and {} different contents", ids.len(), contents.len()), found);
        }
        let proof = text(&story.events[0].body["data"]["proof"]);
        // A key that sees nothing, a lie without a look before it, or a DELETE of what was never seen.
        let blinded = outcome == "already_absent"
            && (self.emptied && proof == "unconfirmed" || ask.kind.may_delete() && !story.was_seen());
        let told_so = ask.kind == Kind::Missing && (outcome, proof) == ("deleted", "provider_word") && lies(story) > 0;
        let fooled = cause == "still_present" && ask.kind.may_delete() && lies(story) >= 2 || blinded || told_so;
        if !fooled && !exhausted && !ask.kind.may_be_answered(outcome, cause) {
            story.broken(4, format!("is {:?} and was answered {outcome} {cause}", ask.kind), found);
        }
        self.replied(story, found);
        self.ended(story, outcome, found);
        self.recorded(story, found);
    }

    /// Whether its message's burial cannot be told from that of another one with its ID.
    fn shares_id(&self, story: &Story<'_>) -> bool {
        self.asks.iter().filter(|ask| ask.request_id == story.ask.request_id).any(|ask| ask.kind != story.ask.kind)
    }

    /// A message with a `reply_to` has a copy of its answer there.
    fn replied(&self, story: &Story<'_>, found: &mut Found) {
        let wanted = story.ask.reply && !story.ask.kind.is_buried();
        let copy = |reply: &Event| story.events.iter().any(|event| event.body["id"] == reply.body["id"]);
        if wanted && !self.replies.iter().any(copy) {
            story.broken(1, "has no copy of its answer in its reply_to queue", found);
        }
    }

    /// What the event says of an asset is how it is.
    fn ended(&self, story: &Story<'_>, outcome: &str, found: &mut Found) {
        let ask = story.ask;
        let exists = self.assets.contains(&ask.asset_id);
        let gone = matches!(outcome, "deleted" | "already_absent");
        let proof = text(&story.events[0].body["data"]["proof"]);
        if gone && exists && proof != "unconfirmed" {
            story.broken(5, format!("answered {outcome} {proof}, and the asset is still there"), found);
        }
        if exists && story.events[0].body["data"]["verified"] == true {
            story.broken(5, "is verified to be gone, and the asset is still there", found);
        }
        let others = self.asks.iter().any(|other| other.asset_id == ask.asset_id && other.kind.may_delete());
        if !gone && !exists && !others && ask.kind != Kind::Missing {
            story.broken(3, format!("answered {outcome}, and the asset is gone"), found);
        }
    }

    /// What is on record is what was published.
    fn recorded(&self, story: &Story<'_>, found: &mut Found) {
        let (ask, row) = (story.ask, self.ledger.get(&story.ask.request_id));
        if ask.kind.is_second() {
            return;
        }
        if ask.kind == Kind::Intruder {
            if row.is_some() {
                story.broken(3, "is on record although its publisher may not ask", found);
            }
            return;
        }
        let Some((entry, changes)) = row else { return story.broken(4, "is not in the ledger", found) };
        if entry.event.is_some() && entry.event.as_deref() != story.events.first().map(|event| event.text.as_str()) {
            story.broken(4, "has another event on record than was published", found);
        }
        if changes.iter().any(|change| self.clocks.true_ms(change.at).is_none()) {
            story.broken(4, "has an entry with a time that no clock told", found);
        }
    }

    /// One event ID has one content, whatever queue it came out of.
    pub(super) fn contents(&self, found: &mut Found) {
        let mut contents: BTreeMap<&str, &Event> = BTreeMap::new();
        for event in self.events.iter().chain(&self.replies).chain(&self.started) {
            let first = contents.entry(text(&event.body["id"])).or_insert(event);
            if first.text != event.text {
                let data = &event.body["data"];
                let (request, asset) = (text(&data["request_id"]), text(&data["asset_id"]));
                found.push(violation(4, "one event ID has two contents", request, asset));
            }
        }
    }

    /// The evidence in the ledger holds.
    pub(super) fn evidence(&self, found: &mut Found) {
        if let Some(problem) = &self.evidence {
            found.push(violation(4, format!("the evidence does not hold: {problem}"), "", ""));
        }
    }
}

/// How many `DELETE`s were answered "deleted" without effect.
fn lies(story: &Story<'_>) -> usize {
    let lie = |(_, call): &(usize, &Call)| call.answered.as_deref() == Some("0") && !call.took_effect;
    story.deletes().filter(lie).count()
}
