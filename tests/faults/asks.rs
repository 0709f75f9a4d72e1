//! What is asked for in a run: every kind of request, each with the answers it may get.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Value, json};

use super::conditions::Conditions;

/// The case of the requests that belong to no small one; it says no size.
pub const CASE: &str = "run";
/// What `protected` names in a run.
pub const PROTECTED: &str = "keep-*";
/// What `provider.refused_codes` names in a run.
pub const REFUSED_CODE: &str = "403001";
/// Characters in a message whose body is left out.
const TOO_LONG: usize = 300_000;
/// How far behind its first copy a copy of a request may be published, in messages.
const SPREAD: usize = 150;

/// What a request is about, and so how it has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The asset is there and no job uses it.
    Plain,
    /// As plain, once its bytes are kept.
    Kept,
    /// As plain; published two to four times, at different moments.
    Copies,
    /// As plain, but each look at the asset takes long; two or three copies are published at once.
    Slow,
    /// As plain; two requests ask for the asset.
    Shared,
    /// As plain; job starters try to use the asset meanwhile.
    Contended,
    /// As contended; the request does not want to wait for a job.
    Hasty,
    /// As plain, with a deadline some seconds after it is published.
    Soon,
    /// A job uses the asset until the middle of the run.
    Busy,
    /// A job uses the asset until the end, and the request does not want to wait.
    BusyReject,
    /// There is no such asset.
    Missing,
    /// Nothing is to be deleted.
    DryRun,
    /// The asset is called otherwise than the request expects.
    Mismatch,
    /// The deadline has passed.
    Late,
    /// The operator protects the asset.
    Protected,
    /// The provider refuses to delete it, every time.
    Refused,
    /// Asks for another asset under the ID of a plain request.
    Conflict,
    /// Says something else about the asset of a plain request, under its ID.
    OtherWords,
    /// Does not want to wait, under the ID of a busy request that waits.
    OtherWordsOpen,
    /// No valid request, but its ID can be read.
    Malformed,
    /// Longer than anything that the worker takes in; its ID is the message's.
    TooLong,
    /// Published by a user who may not ask.
    Intruder,
}

/// Each kind with how often it is drawn; most requests are plain ones.
const DRAWN: [(Kind, u32); 22] = [
    (Kind::Plain, 36),
    (Kind::Kept, 26),
    (Kind::Copies, 10),
    (Kind::Slow, 3),
    (Kind::Shared, 8),
    (Kind::Contended, 10),
    (Kind::Hasty, 7),
    (Kind::Soon, 6),
    (Kind::Busy, 6),
    (Kind::BusyReject, 3),
    (Kind::Missing, 5),
    (Kind::DryRun, 4),
    (Kind::Mismatch, 3),
    (Kind::Late, 3),
    (Kind::Protected, 3),
    (Kind::Refused, 3),
    (Kind::Conflict, 3),
    (Kind::OtherWords, 2),
    (Kind::OtherWordsOpen, 2),
    (Kind::Malformed, 3),
    (Kind::TooLong, 1),
    (Kind::Intruder, 3),
];

/// One message to publish.
#[derive(Clone, Debug)]
pub struct Ask {
    pub kind: Kind,
    pub request_id: String,
    pub asset_id: String,
    /// Tells the calls for this request from those for another one; copies of a request have the same.
    pub traceparent: String,
    pub body: Value,
    /// Whether it wants a copy of its result in the queue of replies.
    pub reply: bool,
    /// Its deadline is so long after it is published for the first time.
    pub deadline_ms: Option<u64>,
}

/// All of a run.
#[derive(Default)]
pub struct Asks {
    /// In the order in which they are published; the first of a request ID is the one that counts.
    pub asks: Vec<Ask>,
    /// What exists at first.
    pub assets: Vec<String>,
}

/// A run's asks while they are drawn, each with its place in the order.
struct Drawing<'a> {
    random: &'a mut Rng,
    placed: Vec<(usize, Ask)>,
    assets: Vec<String>,
    messages: u32,
    cases: u32,
    /// The small case that is being filled, how many requests it has, and how many it still takes.
    case: Option<(String, u32, u32)>,
}

impl Asks {
    /// `count` assets are asked for, and some more messages are published.
    pub fn draw(random: &mut Rng, count: usize, conditions: &Conditions) -> Self {
        let (placed, assets) = (Vec::new(), Vec::new());
        let mut drawing = Drawing { random, placed, assets, messages: 0, cases: 0, case: None };
        for number in 0..count {
            let kind = match drawn(drawing.random) {
                Kind::Intruder if !conditions.publishers => Kind::Plain,
                // Its first request has to wait for the middle of the run.
                Kind::OtherWordsOpen if number > count / 3 => Kind::OtherWords,
                kind => kind,
            };
            drawing.add(kind, number);
        }
        drawing.close_case();
        drawing.placed.sort_by_key(|(place, _)| *place);
        Self { asks: drawing.placed.into_iter().map(|(_, ask)| ask).collect(), assets: drawing.assets }
    }

    pub fn assets_of(&self, kind: Kind) -> Vec<&str> {
        let own: BTreeSet<&str> =
            self.asks.iter().filter(|ask| ask.kind == kind).map(|ask| ask.asset_id.as_str()).collect();
        own.into_iter().collect()
    }

    /// How many different requests have to be answered, each with the one answer of its ID.
    pub fn requests(&self) -> usize {
        let own = self.asks.iter().filter(|ask| !ask.kind.is_second() && ask.kind != Kind::Intruder);
        own.map(|ask| &ask.request_id).collect::<BTreeSet<_>>().len()
    }

    /// How many messages have to be buried.
    pub fn to_bury(&self) -> usize {
        self.asks.iter().filter(|ask| ask.kind.is_buried()).count()
    }

    /// Every case, the one without a size too.
    pub fn cases(&self) -> BTreeSet<&str> {
        self.asks.iter().filter_map(|ask| ask.body["case_id"].as_str()).collect()
    }
}

impl Drawing<'_> {
    fn add(&mut self, kind: Kind, number: usize) {
        let prefix = if kind == Kind::Protected { "keep-" } else { "" };
        let (request, asset) = (format!("r{number}"), format!("{prefix}a{number}"));
        if kind != Kind::Missing {
            self.assets.push(asset.clone());
        }
        match kind {
            Kind::Shared => {
                let place = number + self.random.usize(0..3);
                self.ask(Kind::Shared, place, &format!("{request}-too"), &asset);
            }
            Kind::Conflict => {
                self.ask(Kind::Plain, number, &request, &asset);
                let other = format!("{asset}-other");
                self.assets.push(other.clone());
                return self.ask(kind, number, &request, &other);
            }
            Kind::OtherWords => self.ask(Kind::Plain, number, &request, &asset),
            Kind::OtherWordsOpen => self.ask(Kind::Busy, number, &request, &asset),
            _ => {}
        }
        self.ask(kind, number, &request, &asset);
        self.copy(kind, number);
    }

    /// Publishes what was asked last more than once.
    fn copy(&mut self, kind: Kind, number: usize) {
        let (more, spread) = match kind {
            Kind::Copies => (self.random.usize(1..4), SPREAD),
            Kind::Slow => (self.random.usize(1..3), 1),
            _ if kind.may_delete() && self.random.u32(0..8) == 0 => (self.random.usize(1..4), SPREAD),
            _ => return,
        };
        let copy = self.placed[self.placed.len() - 1].1.clone();
        let together = kind != Kind::Slow && self.random.bool();
        for _ in 0..more {
            let place = number + if together { 0 } else { self.random.usize(0..spread) };
            self.placed.push((place, copy.clone()));
        }
    }

    fn ask(&mut self, kind: Kind, place: usize, request_id: &str, asset_id: &str) {
        let mut body = json!({"request_id": request_id, "asset_id": asset_id, "case_id": CASE});
        self.put_into_case(kind, &mut body);
        match kind {
            Kind::BusyReject | Kind::Hasty | Kind::OtherWordsOpen => body["on_in_use"] = json!("reject"),
            Kind::Kept => body["backup"] = json!(true),
            Kind::DryRun => body["dry_run"] = json!(true),
            Kind::Mismatch => body["expect"] = json!({"name": "something else"}),
            Kind::Late => body["deadline"] = json!("2020-01-01T00:00:00Z"),
            Kind::OtherWords => body["requested_by"] = json!("another desk"),
            Kind::Malformed => body["dry-run"] = json!(true),
            Kind::TooLong => body = json!({"request_id": request_id, "reason": "x".repeat(TOO_LONG)}),
            _ => {}
        }
        self.messages += 1;
        let traceparent = format!("00-{:032x}-{:016x}-01", self.messages, 1);
        let deadline_ms = (kind == Kind::Soon).then(|| self.random.u64(1_000..20_000));
        let (request_id, asset_id) = (request_id.to_owned(), asset_id.to_owned());
        let reply = self.random.u32(0..4) == 0;
        self.placed.push((place, Ask { kind, request_id, asset_id, traceparent, body, reply, deadline_ms }));
    }

    /// Some requests in a row make a small case, which says how many they are.
    fn put_into_case(&mut self, kind: Kind, body: &mut Value) {
        // What a user asks who may not, or what is not read, is no request of a case.
        if matches!(kind, Kind::Intruder | Kind::TooLong) {
            return;
        }
        if self.case.is_none() && self.random.u32(0..30) == 0 {
            self.cases += 1;
            let size = self.random.u32(5..=30);
            self.case = Some((format!("case-{}", self.cases), size, size));
        }
        let Some((case, size, left)) = &mut self.case else { return };
        (body["case_id"], body["case_size"]) = (json!(case), json!(size));
        *left -= 1;
        if *left == 0 {
            self.case = None;
        }
    }

    /// The last case has fewer requests than it was meant to have.
    fn close_case(&mut self) {
        let Some((case, size, left)) = self.case.take() else { return };
        for (_, ask) in self.placed.iter_mut().filter(|(_, ask)| ask.body["case_id"] == case.as_str()) {
            ask.body["case_size"] = json!(size - left);
        }
    }
}

impl Kind {
    /// Whether a `DELETE` may be sent for it.
    pub fn may_delete(self) -> bool {
        matches!(
            self,
            Self::Plain
                | Self::Kept
                | Self::Copies
                | Self::Slow
                | Self::Shared
                | Self::Contended
                | Self::Hasty
                | Self::Soon
                | Self::Busy
                | Self::Refused
        )
    }

    /// Whether it comes second under the ID of another request, and so is a conflict.
    pub fn is_second(self) -> bool {
        matches!(self, Self::Conflict | Self::OtherWords | Self::OtherWordsOpen)
    }

    /// Whether its message ends in the dead queue.
    pub fn is_buried(self) -> bool {
        matches!(self, Self::Malformed | Self::TooLong | Self::Intruder)
    }

    /// Outcome and cause that it may be answered with.
    pub fn may_be_answered(self, outcome: &str, cause: &str) -> bool {
        match outcome {
            // Refused: a fault may have said "500" and deleted it all the same.
            "deleted" => self.may_delete(),
            // Shared: whichever request comes second finds nothing.
            "already_absent" => matches!(self, Self::Shared | Self::Missing),
            "would_delete" => self == Self::DryRun,
            _ if self.is_second() => (outcome, cause) == ("rejected", "request_conflict"),
            _ => matches!(
                (self, outcome, cause),
                (Self::BusyReject | Self::Hasty, "rejected", "in_use")
                    | (Self::Mismatch, "rejected", "asset_mismatch")
                    | (Self::Late | Self::Soon, "failed", "deadline_passed")
                    | (Self::Protected, "rejected", "protected")
                    | (Self::Refused, "failed", "provider_refused")
                    | (Self::Malformed | Self::TooLong, "rejected", "invalid_request")
                    | (Self::Intruder, "rejected", "publisher_not_allowed")
            ),
        }
    }
}

fn drawn(random: &mut Rng) -> Kind {
    let mut ticket = random.u32(0..DRAWN.iter().map(|(_, share)| share).sum());
    for (kind, share) in DRAWN {
        match ticket.checked_sub(share) {
            None => return kind,
            Some(rest) => ticket = rest,
        }
    }
    Kind::Plain
}
