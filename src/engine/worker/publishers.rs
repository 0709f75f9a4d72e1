//! Who may ask.

use crate::contract::message::event::Subject;
use crate::contract::message::{Cause, Outcome, Request, ResultEvent, Unreadable};
use crate::contract::reasons::Buried;
use crate::engine::eraser::{Publication, Verdict};
use crate::settings;

/// The users whose requests are looked at; those of all users when there is no list.
#[derive(Clone, Debug)]
pub(super) struct Publishers(Option<Vec<String>>);

impl Publishers {
    pub(super) fn new(settings: Option<&settings::PublisherSettings>) -> Self {
        Self(settings.map(|publishers| publishers.allow.clone()))
    }

    /// What becomes of a message of a user who may not ask. Nothing of it is recorded, and the ledger is not even asked:
    /// a request ID belongs to those who may.
    pub(super) fn refusal(
        &self,
        publisher: Option<&str>,
        decoded: &Result<Request, Box<Unreadable>>,
    ) -> Option<Verdict> {
        let allowed = self.0.as_ref()?;
        let detail = match publisher {
            Some(user) if allowed.iter().any(|one| one == user) => return None,
            Some(user) => format!("publishers.allow does not name RabbitMQ user {user:?}"),
            None => "the message has no user_id property, so RabbitMQ does not vouch for its publisher".to_owned(),
        };
        let (request_id, asset_id, labels) = match decoded {
            Ok(request) => (Some(&request.request_id), Some(&request.asset_id), &request.labels),
            Err(bad) => (bad.request_id.as_ref(), bad.asset_id.as_ref(), &bad.labels),
        };
        let outcome = Outcome::rejected(Cause::PublisherNotAllowed, &detail);
        let answer = request_id.map(|request_id| {
            let event = ResultEvent::unheard(Subject { request_id, asset_id, labels }, &outcome);
            Publication { event: Box::new(event), case: None, recorded: None }
        });
        Some(Verdict::Bury { answer, why: Buried::PublisherNotAllowed, detail })
    }
}
