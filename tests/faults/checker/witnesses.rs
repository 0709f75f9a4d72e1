//! Promise 5: "gone" needs two witnesses, and they are counted.

use super::story::Story;
use super::{Call, Found, History};

/// An answer is lost to a worker that is in trouble so soon after the call.
const TROUBLE_MS: i64 = 3_000;

impl History {
    pub(super) fn witnesses(&self, story: &Story<'_>, found: &mut Found) {
        let Some((outcome, _)) = story.answer() else { return };
        let verified = story.events[0].body["data"]["verified"] == true;
        match outcome {
            "deleted" if verified => deleted(story, found),
            "already_absent" => absent(story, found),
            _ => {}
        }
        if outcome == "already_absent" && verified && !self.is_controlled(story) {
            story.broken(5, "is verified to be absent, and no asset was found after the last look", found);
        }
        if outcome == "deleted" && self.found_nothing(story) {
            story.broken(5, "answered deleted although its one DELETE found nothing", found);
        }
    }

    /// Whether an asset was found, by whichever request, between the last look and the decision.
    fn is_controlled(&self, story: &Story<'_>) -> bool {
        let decided = story.decided_ms().unwrap_or(i64::MAX);
        let looks = story.calls.iter().filter(|call| call.is("detail") && call.at_ms <= decided);
        let Some(last) = looks.map(|call| call.at_ms).max() else { return false };
        let finds = self.calls.iter().filter(|call| call.answered.as_deref() == Some("found"));
        finds.map(|call| call.at_ms).any(|at_ms| (last..=decided).contains(&at_ms))
    }

    /// Whether its one `DELETE` was answered "not found", and nothing kept the worker from knowing that.
    fn found_nothing(&self, story: &Story<'_>) -> bool {
        let deletes: Vec<&Call> = story.deletes().map(|(_, call)| call).collect();
        let &[only] = deletes.as_slice() else { return false };
        let again = story.entries_in("begun").any(|told| told.ms > only.at_ms);
        let recorded = story.entries_in("deleting").count();
        let missing = only.status == Some(200) && only.answered.as_deref() == Some("-1") && !only.took_effect;
        missing && !self.in_trouble(only) && !again && recorded == 1
    }

    /// Whether the answer to a call may have been lost on its way.
    pub(super) fn in_trouble(&self, call: &Call) -> bool {
        let soon = call.at_ms..call.at_ms + TROUBLE_MS;
        self.troubles.iter().any(|at| soon.contains(at))
    }
}

/// After the `DELETE` that took effect, one look does not find the asset where the provider has said "deleted" to it or to
/// the last one, else two.
fn deleted(story: &Story<'_>, found: &mut Found) {
    let deletes: Vec<(usize, &Call)> = story.deletes().collect();
    let took_effect = deletes.iter().rev().find(|(_, call)| call.took_effect);
    let last = took_effect.or(deletes.last());
    let said_deleted = |(_, call): &(usize, &Call)| call.status == Some(200) && call.answered.as_deref() == Some("0");
    let plain = last.is_some_and(said_deleted) || deletes.last().is_some_and(said_deleted);
    let needed = if plain { 1 } else { 2 };
    let seen = agreeing(story, last.map_or(0, |(place, _)| place + 1));
    if seen < needed {
        story.broken(5, format!("answered deleted with {seen} of {needed} looks that found nothing"), found);
    }
}

fn absent(story: &Story<'_>, found: &mut Found) {
    if story.was_seen() && story.deletes().any(|(_, call)| call.took_effect) {
        story.broken(5, "answered already_absent although its own DELETE took effect", found);
    }
    let seen = agreeing(story, 0);
    if seen < 2 {
        story.broken(5, format!("answered already_absent with {seen} of 2 looks that found nothing"), found);
    }
}

/// How many of the last looks from a place on, and before the decision, agree that the asset is missing.
fn agreeing(story: &Story<'_>, from: usize) -> usize {
    let decided = story.decided_ms().unwrap_or(i64::MAX);
    let looks = story.calls[from..].iter().filter(|call| call.is("detail") && call.at_ms <= decided);
    let said = looks.filter_map(|call| call.answered.as_deref());
    said.rev().take_while(|said| *said == "missing").count()
}
