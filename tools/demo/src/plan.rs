//! What is asked, and what each request has to be answered with.

use serde_json::{Value, json};
use uuid::Uuid;

/// What is special about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Plain,
    Absent,
    Waits,
    InUse,
    Malformed,
    Unreadable,
    Twice,
    Conflict,
    Mismatch,
    Shaky,
    AlwaysFails,
    Refused,
    StillPresent,
    DryRun,
    TooLate,
    Kept,
    NotKept,
}

/// The answer to expect: outcome and cause.
pub type Answer = (&'static str, &'static str);

impl Kind {
    pub const ALL: [Self; 17] = [
        Self::Plain,
        Self::Absent,
        Self::Waits,
        Self::InUse,
        Self::Malformed,
        Self::Unreadable,
        Self::Twice,
        Self::Conflict,
        Self::Mismatch,
        Self::Shaky,
        Self::AlwaysFails,
        Self::Refused,
        Self::StillPresent,
        Self::DryRun,
        Self::TooLate,
        Self::Kept,
        Self::NotKept,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Plain => "an asset that no job uses",
            Self::Absent => "an asset that is gone already",
            Self::Waits => "in use, freed later",
            Self::InUse => "in use, on_in_use = reject",
            Self::Malformed => "malformed, request_id readable",
            Self::Unreadable => "not readable at all",
            Self::Twice => "the same request twice",
            Self::Conflict => "a used request_id, other asset",
            Self::Mismatch => "not what was expected",
            Self::Shaky => "provider fails now and then",
            Self::AlwaysFails => "provider always fails",
            Self::Refused => "provider says no",
            Self::StillPresent => "provider says deleted, is not",
            Self::DryRun => "dry run",
            Self::TooLate => "deadline passed",
            Self::Kept => "to be kept before it is deleted",
            Self::NotKept => "to be kept, its bytes are not had",
        }
    }

    /// `None`: the message has no answer, only a place in the dead queue.
    pub const fn answer(self) -> Option<Answer> {
        match self {
            Self::Plain | Self::Waits | Self::Twice | Self::Shaky | Self::Kept => Some(("deleted", "")),
            Self::Absent => Some(("already_absent", "")),
            Self::InUse => Some(("rejected", "in_use")),
            Self::Malformed => Some(("rejected", "invalid_request")),
            Self::Unreadable => None,
            Self::Conflict => Some(("rejected", "request_conflict")),
            Self::Mismatch => Some(("rejected", "asset_mismatch")),
            Self::AlwaysFails => Some(("failed", "attempts_exhausted")),
            Self::Refused => Some(("failed", "provider_refused")),
            Self::StillPresent => Some(("failed", "still_present")),
            Self::DryRun => Some(("would_delete", "")),
            Self::TooLate => Some(("failed", "deadline_passed")),
            Self::NotKept => Some(("failed", "backup_failed")),
        }
    }

    /// Parts of a hundred; what is missing to a hundred is `Plain`, and 0 stands for exactly one message.
    const fn percent(self) -> usize {
        match self {
            Self::Plain | Self::AlwaysFails | Self::Refused | Self::StillPresent | Self::NotKept => 0,
            Self::Unreadable => 1,
            Self::Conflict | Self::TooLate => 2,
            Self::Kept => 3,
            Self::InUse | Self::Malformed | Self::Mismatch | Self::DryRun => 5,
            Self::Absent | Self::Waits => 6,
            Self::Shaky => 8,
            // Pairs.
            Self::Twice => 10,
        }
    }

    const fn exists(self) -> bool {
        !matches!(self, Self::Absent | Self::Unreadable)
    }

    const fn is_deleted(self) -> bool {
        matches!(self, Self::Plain | Self::Waits | Self::Twice | Self::Shaky | Self::Kept)
    }
}

/// One message to publish.
pub struct Message {
    pub kind: Kind,
    /// What answers are found by: they carry the asset they are about, and each message but a pair has its own.
    pub asset: String,
    pub body: String,
}

/// Everything that is published in one run, in order.
pub struct Plan {
    pub messages: Vec<Message>,
    /// Distinguishes the runs against one worker.
    pub run: String,
}

impl Plan {
    pub fn new(messages: usize) -> Self {
        let run = Uuid::new_v4().simple().to_string()[..8].to_owned();
        // The first message stays the first: the conflicting ones use its request ID.
        let mut kinds = vec![Kind::Plain];
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Plain) {
            // Pairs are made below, so half as many.
            let count = messages * kind.percent() / 100 / if kind == Kind::Twice { 2 } else { 1 };
            kinds.extend(vec![kind; count.max(1)]);
        }
        let pairs = kinds.iter().filter(|kind| **kind == Kind::Twice).count();
        kinds.extend(vec![Kind::Plain; messages - kinds.len() - pairs]);
        let mut plan = Self { messages: Vec::with_capacity(messages), run };
        // A step that shares no factor with the count visits each once, and mixes the kinds the same way in every run.
        let (count, step) = (kinds.len(), 7919);
        for number in 0..count {
            plan.add(number, kinds[if count.is_multiple_of(step) { number } else { number * step % count }]);
        }
        plan
    }

    fn add(&mut self, number: usize, kind: Kind) {
        let asset = format!("asset-{}-{number:05}", self.run);
        let mut request = json!({
            "request_id": format!("demo-{}-{number:05}", self.run), "asset_id": asset,
            "requested_by": "demo", "case_id": format!("demo-{}", self.run),
        });
        let more = match kind {
            Kind::InUse => json!({"on_in_use": "reject"}),
            Kind::Mismatch => json!({"expect": {"asset_type": "Video"}}),
            Kind::DryRun => json!({"dry_run": true}),
            Kind::Kept | Kind::NotKept => json!({"backup": true}),
            Kind::TooLate => json!({"deadline": "2020-01-01T00:00:00Z"}),
            Kind::Malformed => match number % 3 {
                0 => json!({"dryrun": true}),
                1 => json!({"deadline": "tomorrow"}),
                _ => json!({"on_in_use": "hope"}),
            },
            Kind::Conflict => json!({"request_id": format!("demo-{}-00000", self.run)}),
            _ => json!({}),
        };
        for (field, value) in more.as_object().into_iter().flatten() {
            request[field] = value.clone();
        }
        let body = if kind == Kind::Unreadable { format!("{{\"asset_id\": {asset}") } else { request.to_string() };
        if kind == Kind::Twice {
            self.messages.push(Message { kind, asset: asset.clone(), body: body.clone() });
        }
        self.messages.push(Message { kind, asset, body });
    }

    /// Messages that are answered.
    pub fn answers(&self) -> usize {
        self.messages.iter().filter(|message| message.kind.answer().is_some()).count()
    }

    /// Messages that end in the dead queue.
    pub fn buried(&self) -> usize {
        self.of(Kind::Malformed).count() + self.of(Kind::Unreadable).count()
    }

    /// Assets that the job in progress uses until it is ended.
    pub fn waiting(&self) -> usize {
        self.of(Kind::Waits).count()
    }

    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(move |message| message.kind == kind)
    }

    /// Assets to make before anything is asked: those of the requests, and some that no request asks for.
    pub fn assets(&self) -> Vec<String> {
        let asked = self.messages.iter().filter(|message| message.kind.exists()).map(|message| message.asset.clone());
        asked.chain(self.unasked()).collect()
    }

    /// Assets that must be there in the end.
    pub fn left(&self) -> Vec<String> {
        let kept = |message: &&Message| message.kind.exists() && !message.kind.is_deleted();
        self.messages.iter().filter(kept).map(|message| message.asset.clone()).chain(self.unasked()).collect()
    }

    fn unasked(&self) -> impl Iterator<Item = String> {
        (0..20).map(|number| format!("asset-{}-unasked-{number:02}", self.run))
    }

    /// Faults of the provider, as the sandbox takes them.
    pub fn faults(&self) -> Vec<Value> {
        let fault = |operation: &str, asset: &str, times: Option<u32>, what: Value| {
            let mut fault = json!({"operation": operation, "asset": asset, "do": what});
            if let Some(times) = times {
                fault["times"] = json!(times);
            }
            fault
        };
        let passing = [
            ("delete", json!({"answer": {"status": 500}})),
            ("delete", json!({"cut": "before"})),
            ("delete", json!({"cut": "after"})),
            ("delete", json!({"pretend": true})),
            ("delete", json!({"answer": {"status": 502, "body": "<html>", "took_effect": true}})),
            ("detail", json!({"answer": {"status": 503}})),
            ("detail", json!({"cut": "midway"})),
            ("jobs", json!({"answer": {"status": 200, "body": "[]"}})),
        ];
        let mut faults: Vec<Value> = Vec::new();
        for (message, (operation, what)) in self.of(Kind::Shaky).zip(passing.iter().cycle()) {
            faults.push(fault(operation, &message.asset, Some(1), what.clone()));
        }
        for message in self.of(Kind::AlwaysFails) {
            faults.push(fault("delete", &message.asset, None, json!({"answer": {"status": 500}})));
        }
        for message in self.of(Kind::Refused) {
            let body = json!({"code": "1403", "msg": "not yours"});
            faults.push(fault("delete", &message.asset, None, json!({"answer": {"status": 200, "body": body}})));
        }
        let broken = [
            json!({"send": {"bytes": 5000}}),
            json!({"answer": {"status": 503}}),
            json!({"send": {"framing": "chunked", "bytes": 5000, "cut": true}}),
        ];
        // Every other download goes wrong at first.
        for (message, what) in self.of(Kind::Kept).step_by(2).zip(broken.iter().cycle()) {
            faults.push(fault("file", &message.asset, Some(1), what.clone()));
        }
        for message in self.of(Kind::NotKept) {
            let page = json!({"status": 200, "headers": {"content-type": "text/html"}, "body": "<html>log in</html>"});
            faults.push(fault("file", &message.asset, None, json!({"answer": page})));
        }
        for message in self.of(Kind::StillPresent) {
            faults.push(fault("delete", &message.asset, None, json!({"pretend": true})));
        }
        faults
    }
}
