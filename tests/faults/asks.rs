//! What is asked for in a run: every kind of request, each with the answers it may get.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Value, json};

/// The case that every readable request is of, to find them all in the ledger.
pub const CASE: &str = "run";
/// What `protected` names in a run.
pub const PROTECTED: &str = "keep-*";
/// What `provider.refused_codes` names in a run.
pub const REFUSED_CODE: &str = "403001";

/// What a request is about, and so how it has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The asset is there and nobody uses it.
    Plain,
    /// As plain, once its bytes are kept.
    Kept,
    /// As plain; published twice.
    Twice,
    /// As plain; two requests ask for the asset.
    Shared,
    /// As plain; job starters try to use the asset meanwhile.
    Contended,
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
    /// No valid request, but its ID can be read.
    Malformed,
}

/// Each kind with how often it is drawn; most requests are plain ones.
const DRAWN: [(Kind, u32); 15] = [
    (Kind::Plain, 40),
    (Kind::Kept, 30),
    (Kind::Twice, 6),
    (Kind::Shared, 6),
    (Kind::Contended, 10),
    (Kind::Busy, 8),
    (Kind::BusyReject, 3),
    (Kind::Missing, 5),
    (Kind::DryRun, 4),
    (Kind::Mismatch, 3),
    (Kind::Late, 3),
    (Kind::Protected, 3),
    (Kind::Refused, 3),
    (Kind::Conflict, 3),
    (Kind::Malformed, 3),
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
}

/// All of a run.
#[derive(Default)]
pub struct Asks {
    /// In the order in which they are published; the first of a request ID is the one that counts.
    pub asks: Vec<Ask>,
    /// What exists at first.
    pub assets: Vec<String>,
}

impl Asks {
    /// `count` assets are asked for, and some more messages are published.
    pub fn draw(random: &mut Rng, count: usize) -> Self {
        let mut all = Self::default();
        for number in 0..count {
            let kind = drawn(random);
            let prefix = if kind == Kind::Protected { "keep-" } else { "" };
            let (request, asset) = (format!("r{number}"), format!("{prefix}a{number}"));
            if kind != Kind::Missing {
                all.assets.push(asset.clone());
            }
            match kind {
                Kind::Twice => all.ask(Kind::Twice, &request, &asset),
                Kind::Shared => all.ask(Kind::Shared, &format!("{request}-too"), &asset),
                Kind::Conflict => {
                    all.ask(Kind::Plain, &request, &asset);
                    let other = format!("{asset}-other");
                    all.ask(Kind::Conflict, &request, &other);
                    all.assets.push(other);
                    continue;
                }
                _ => {}
            }
            all.ask(kind, &request, &asset);
        }
        all
    }

    fn ask(&mut self, kind: Kind, request_id: &str, asset_id: &str) {
        let mut body = json!({"request_id": request_id, "asset_id": asset_id, "case_id": CASE});
        match kind {
            Kind::BusyReject => body["on_in_use"] = json!("reject"),
            Kind::Kept => body["backup"] = json!(true),
            Kind::DryRun => body["dry_run"] = json!(true),
            Kind::Mismatch => body["expect"] = json!({"name": "something else"}),
            Kind::Late => body["deadline"] = json!("2020-01-01T00:00:00Z"),
            Kind::Malformed => body["dry-run"] = json!(true),
            _ => {}
        }
        let copy_of = self.asks.iter().rev().take(1).find(|ask| ask.body == body);
        let traceparent = copy_of
            .map_or_else(|| format!("00-{:032x}-{:016x}-01", self.asks.len() + 1, 1), |ask| ask.traceparent.clone());
        let (request_id, asset_id) = (request_id.to_owned(), asset_id.to_owned());
        self.asks.push(Ask { kind, request_id, asset_id, traceparent, body });
    }

    pub fn assets_of(&self, kind: Kind) -> Vec<&str> {
        let own: BTreeSet<&str> =
            self.asks.iter().filter(|ask| ask.kind == kind).map(|ask| ask.asset_id.as_str()).collect();
        own.into_iter().collect()
    }

    /// How many different requests have to be answered.
    pub fn requests(&self) -> usize {
        self.asks.iter().map(|ask| &ask.request_id).collect::<BTreeSet<_>>().len()
    }

    pub fn malformed(&self) -> usize {
        self.asks.iter().filter(|ask| ask.kind == Kind::Malformed).count()
    }
}

impl Kind {
    /// Whether a `DELETE` may be sent for it.
    pub fn may_delete(self) -> bool {
        matches!(
            self,
            Self::Plain | Self::Kept | Self::Twice | Self::Shared | Self::Contended | Self::Busy | Self::Refused
        )
    }

    /// Outcome and cause that it may be answered with.
    pub fn may_be_answered(self, outcome: &str, cause: &str) -> bool {
        match outcome {
            // Refused: a fault may have said "500" and deleted it all the same.
            "deleted" => self.may_delete(),
            // Shared: whoever comes second finds nothing.
            "already_absent" => matches!(self, Self::Shared | Self::Missing),
            "would_delete" => self == Self::DryRun,
            _ => matches!(
                (self, outcome, cause),
                (Self::BusyReject, "rejected", "in_use")
                    | (Self::Mismatch, "rejected", "asset_mismatch")
                    | (Self::Late, "failed", "deadline_passed")
                    | (Self::Protected, "rejected", "protected")
                    | (Self::Refused, "failed", "provider_refused")
                    | (Self::Conflict, "rejected", "request_conflict")
                    | (Self::Malformed, "rejected", "invalid_request")
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
