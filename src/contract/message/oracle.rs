//! What holds for every message, whatever its bytes are. Asked by the property tests and by the fuzzer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::event::{Facts, Subject};
use super::request::{Envelope, MAX_BODY, Request, Unreadable};
use super::{Cause, Outcome, ResultEvent};
use crate::contract::json;

/// The longest problem, in bytes: it goes into an event and a header.
const LONGEST_PROBLEM: usize = 1_000;

/// The first byte chooses what AMQP says about the body, which is the rest: `c` a CloudEvent, `m` a plain body with a
/// `message_id`, `b` both, anything else neither.
pub(crate) fn request(input: &[u8]) {
    let (kind, body) = input.split_first().map_or((b' ', input), |(kind, body)| (*kind, body));
    let content_type = matches!(kind, b'c' | b'b').then_some("application/cloudevents+json");
    let message_id = matches!(kind, b'm' | b'b').then_some("message-1");
    let envelope = Envelope { body, content_type, message_id, ..Envelope::default() };
    match Request::decode(envelope) {
        Ok(request) => accepted(&request, &envelope),
        Err(refused) => self::refused(&refused),
    }
}

fn accepted(request: &Request, envelope: &Envelope<'_>) {
    assert!(envelope.body.len() <= MAX_BODY, "{} bytes were accepted", envelope.body.len());
    let id = request.asset_id.as_str();
    assert!((1..=128).contains(&id.len()) && id != "." && id != "..", "{id}");
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{id}");
    let name = request.request_id.as_str();
    assert!((1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
    assert!(request.labels.case_size.is_none() || request.labels.case_id.is_some());

    // The same again, out of what the ledger keeps. That may be a little longer than what came.
    let kept = request.to_json();
    if kept.len() <= MAX_BODY {
        let again = Request::decode(Envelope { body: kept.as_bytes(), ..Envelope::default() });
        assert_eq!(again.as_ref(), Ok(request), "{kept}");
    }
    said_so(request, envelope);
}

/// Compares with another reading of the same body, by a parser that knows nothing of requests.
fn said_so(request: &Request, envelope: &Envelope<'_>) {
    let written = json::without_mark(envelope.body);
    let body: Value = match serde_json::from_slice(written) {
        Ok(body) => body,
        // Attributes of a CloudEvent that are not looked at may hold what that parser refuses: 1e999.
        Err(error) => {
            assert!(envelope.content_type.is_some(), "accepted, and no JSON: {error}");
            return;
        }
    };
    let fields = if envelope.content_type.is_some() { &body["data"] } else { &body };
    // Whatever stands there twice, in the text itself: that parser keeps the last one only.
    let text = if envelope.content_type.is_some() { data(written) } else { written.to_vec() };
    let names = serde_json::from_slice::<NameList>(&text).expect("an object").0;
    let different: BTreeSet<&String> = names.iter().collect();
    assert_eq!(names.len(), different.len(), "{names:?}");
    assert_eq!(fields["asset_id"].as_str(), Some(request.asset_id.as_str()));
    assert_eq!(fields.get("dry_run").map_or(Some(false), Value::as_bool), Some(request.dry_run));
    assert_eq!(fields.get("backup").and_then(Value::as_bool), request.backup);
    assert_eq!(fields.get("deadline").is_none_or(Value::is_null), request.deadline.is_none());
    assert_eq!(fields.get("expect").is_none_or(Value::is_null), request.expect.is_none());
    let fallback = envelope.message_id.or_else(|| body["id"].as_str());
    let name = fields.get("request_id").map_or(fallback, Value::as_str);
    assert_eq!(name, Some(request.request_id.as_str()));
}

/// The text of a CloudEvent's `data`.
fn data(event: &[u8]) -> Vec<u8> {
    let event: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(event).expect("an object");
    event["data"].get().as_bytes().to_vec()
}

/// The names in an object, as often as they stand there.
struct NameList(Vec<String>);

impl<'de> Deserialize<'de> for NameList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;
        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = NameList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<NameList, M::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(NameList(names))
            }
        }
        deserializer.deserialize_map(NamesVisitor)
    }
}

fn refused(bad: &Unreadable) {
    let problem = &bad.problem;
    let (field, rule) = problem.split_once(": ").expect("a field and a rule");
    assert!(!field.is_empty() && !rule.is_empty(), "{problem:?}");
    assert!(problem.len() <= LONGEST_PROBLEM, "{} bytes: {problem:?}", problem.len());
    assert!(!problem.chars().any(char::is_control), "{problem:?}");
    let Some(request_id) = &bad.request_id else { return };
    let subject = Subject { request_id, asset_id: bad.asset_id.as_ref(), labels: &bad.labels };
    let outcome = Outcome::rejected(Cause::InvalidRequest, problem.as_str());
    let event = ResultEvent::new(uuid::Uuid::nil(), subject, &outcome, Facts::default(), jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(ResultEvent::recorded(event.body.clone()).as_ref(), Ok(&event));
}
