//! Promises 2 and 4: what has to come before every `DELETE`, in true time.

use super::super::asks::Kind;
use super::story::Story;
use super::{Call, Found, History, violation};

impl History {
    pub(super) fn order(&self, story: &Story<'_>, found: &mut Found) {
        intent(story, found);
        let deletes: Vec<(usize, &Call)> = story.deletes().collect();
        for (number, (place, call)) in (1..).zip(deletes.iter().copied()) {
            let before = if number == 1 { 0 } else { deletes[number - 2].0 + 1 };
            self.guarded(story, &story.calls[before..place], found);
            on_record(story, number, call, found);
            if story.decided_ms().is_some_and(|decided| call.at_ms > decided) {
                story.broken(4, "a DELETE after the decision", found);
            }
            self.looked(story, number, place, call, found);
        }
        rejected_late(story, found);
        self.announced(story, found);
    }

    /// Since the last `DELETE` the guard has said "free". With one worker its last answer has to say so; with more, the
    /// answers of two attempts may be mixed.
    fn guarded(&self, story: &Story<'_>, since: &[&Call], found: &mut Found) {
        let mut answers = since.iter().filter(|call| call.is("jobs")).filter_map(|call| call.listed.as_ref());
        let Some(last) = answers.clone().next_back() else {
            return story.broken(2, "a DELETE without an answer of the guard for it", found);
        };
        let free = if self.replicas == 1 { last.is_empty() } else { answers.any(Vec::is_empty) };
        if !free {
            story.broken(2, format!("a DELETE although the guard had listed {}", last.join(" and ")), found);
        }
    }

    /// The asset was looked at before the guard answered that a `DELETE` rests on, in the same attempt.
    fn looked(&self, story: &Story<'_>, number: usize, place: usize, call: &Call, found: &mut Found) {
        let Some(begun) = story.begun_ms(number, call.at_ms).filter(|_| !self.conditions.blind) else { return };
        let earlier = story.calls[..place].iter().any(|call| call.is("delete") && call.at_ms >= begun);
        let free = |call: &&Call| call.listed.as_ref().is_some_and(Vec::is_empty);
        let Some(guard) = story.calls[..place].iter().rposition(free).filter(|_| !earlier) else { return };
        let look = |call: &&Call| call.is("detail") && call.answered.is_some() && call.at_ms >= begun;
        if !story.calls[..guard].iter().any(look) {
            story.broken(2, "a DELETE whose attempt had not looked at the asset before it asked the guard", found);
        }
    }

    /// A started event comes before the guard is asked, and never for a dry run.
    fn announced(&self, story: &Story<'_>, found: &mut Found) {
        let ask = story.ask;
        if !self.conditions.started_events || ask.kind.is_second() || ask.kind == Kind::Intruder {
            return;
        }
        let asked = story.calls.iter().any(|call| call.is("jobs"));
        let announced = self.started.iter().any(|event| event.body["data"]["request_id"] == ask.request_id.as_str());
        if announced && ask.kind == Kind::DryRun {
            story.broken(3, "a started event of a dry run", found);
        }
        if asked && !announced && ask.kind != Kind::DryRun {
            story.broken(2, "the guard was asked without a started event", found);
        }
    }

    /// Promise 3: no `DELETE` but what was asked for.
    pub(super) fn unasked(&self, found: &mut Found) {
        for call in self.calls.iter().filter(|call| call.is("delete")) {
            let asset = call.asset.as_deref().unwrap_or_default();
            let ask = self.ask_of(call);
            let may = |kind: Kind| kind.may_delete() || kind == Kind::Missing && self.conditions.blind;
            if !ask.is_some_and(|ask| ask.asset_id == asset && may(ask.kind)) {
                let request = ask.map_or("", |ask| ask.request_id.as_str());
                let second = ask.is_some_and(|ask| ask.kind.is_second());
                let what = if second {
                    "a DELETE by the words of a second message"
                } else {
                    "a DELETE that no request asked for"
                };
                found.push(violation(3, what, request, asset));
            }
        }
    }

    /// Promise 2: no asset is deleted while a job uses it that a starter relies on.
    pub(super) fn used(&self, found: &mut Found) {
        for call in self.calls.iter().filter(|call| call.is("delete")) {
            let request = self.ask_of(call).map_or("", |ask| ask.request_id.as_str());
            let asset = call.asset.as_deref().unwrap_or_default();
            let relied_on = |jobs: &[String]| jobs.iter().find(|job| self.jobs.relied_on.contains(*job)).cloned();
            if let Some(job) = relied_on(&call.jobs_in_progress) {
                found.push(violation(2, format!("a DELETE while job {job} used the asset"), request, asset));
            }
            if let Some(job) = relied_on(&call.jobs_at_effect) {
                found.push(violation(2, format!("an asset was deleted while job {job} used it"), request, asset));
            }
        }
        for lost in &self.jobs.lost {
            let what = format!("job {} was started, and its asset was gone {}", lost.job, lost.when);
            let ask = self.asks.iter().find(|ask| ask.asset_id == lost.asset);
            found.push(violation(2, what, ask.map_or("", |ask| ask.request_id.as_str()), &lost.asset));
        }
    }
}

/// The intent is on record before the guard is asked for the first time.
fn intent(story: &Story<'_>, found: &mut Found) {
    let asked = story.calls.iter().find(|call| call.is("jobs")).map(|call| call.at_ms);
    let begun = story.entries_in("begun").next().map(|told| told.ms);
    if let (Some(asked), Some(begun)) = (asked, begun)
        && begun > asked
    {
        story.broken(2, "the guard was asked before the intent was on record", found);
    }
}

/// Each `DELETE` has an entry of its own before it, not counting those that were withheld after all.
fn on_record(story: &Story<'_>, number: usize, call: &Call, found: &mut Found) {
    let recorded = story.count_until("deleting", call.at_ms);
    let withheld = story.count_until("not_sent", call.at_ms);
    // Of a tombstone the entries are gone.
    let known = story.entries_in("begun").next().is_some();
    if known && recorded < number + withheld {
        let what = if recorded == 0 {
            "a DELETE without an entry before it"
        } else {
            "a repeated DELETE without an entry of its own"
        };
        story.broken(4, what, found);
    }
}

/// A request whose `DELETE` may still be carried out is not refused for a job.
fn rejected_late(story: &Story<'_>, found: &mut Found) {
    let rejected = story.answer() == Some(("rejected", "in_use"));
    if rejected && story.deletes().next().is_some() {
        story.broken(5, "rejected as in use while a DELETE was out", found);
    }
}
