//! One request ID is one request: a message that says anything else under it is a conflict, and changes nothing.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::broker::Seen;
use crate::support::{LIMIT, World, deletes, outcome, until_within, world};

/// The time within which a conflict is answered.
const SOON: Duration = Duration::from_secs(5);

/// The same request but for one field, which is added or says something else.
fn with(request: &Value, field: &str, value: Value) -> Value {
    let mut other = request.clone();
    other[field] = value;
    other
}

fn far(hours: u64) -> String {
    (Timestamp::now() + Duration::from_secs(3_600 * hours)).to_string()
}

#[tokio::test]
async fn a_message_that_is_not_equal_is_answered_without_the_words_of_another_request() {
    let mut world = world(&[]).await;
    world.sandbox.add("victim-asset").await;
    let words = json!({"requested_by": "victim-desk", "reason": "victim-reason", "case_id": "victim-case"});
    let mut request = json!({"request_id": "r", "asset_id": "victim-asset"});
    request.as_object_mut().unwrap().extend(words.as_object().unwrap().clone());
    world.ask(request).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    let others =
        [json!({"request_id": "r"}), json!({"request_id": "r", "asset_id": "b"}), json!({"request_id": "r", "x": 1})];
    for answer in answers(&mut world, &others).await {
        assert!(!answer.text.contains("victim"), "{}", answer.text);
    }
    world.finish(2).await;
}

#[tokio::test]
async fn a_conflict_has_one_content_an_event_id_before_and_after_compaction() {
    let mut world = world(&[("RETRY__MAX_AGE", "1s"), ("LEDGER__COMPACT_AFTER", "1s")]).await;
    world.sandbox.add_all(["a", "b"].map(str::to_owned)).await;
    let request = json!({"request_id": "r", "asset_id": "a"});
    world.ask(request.clone()).await;
    world.broker.result("r").await;
    let others = [
        with(&request, "backup", json!(false)),
        with(&request, "dry_run", json!(true)),
        with(&request, "asset_id", json!("b")),
    ];
    let before = answers(&mut world, &others).await;
    until_compacted(&mut world).await;
    let after = answers(&mut world, &others).await;
    for (first, second) in before.iter().zip(&after) {
        let same_id = first.event["id"] == second.event["id"];
        assert!(!same_id || first.text == second.text, "one event ID: {} and {}", first.text, second.text);
    }
    assert_eq!(deletes(&world.sandbox.calls().await), 1);
    world.finish(0).await;
}

/// The answer to each of the messages.
async fn answers(world: &mut World, messages: &[Value]) -> Vec<Seen> {
    let mut answers = Vec::new();
    for message in messages {
        let before = world.broker.results("r", 0).await.len();
        world.ask(message.clone()).await;
        let answer = world.broker.results("r", before + 1).await.remove(before);
        assert_eq!(outcome(&answer.event), ("rejected", "request_conflict"), "{message}");
        answers.push(answer);
    }
    answers
}

/// Old requests are looked for when a worker starts.
async fn until_compacted(world: &mut World) {
    let began = std::time::Instant::now();
    while !world.request("r").await["event"].is_null() {
        assert!(began.elapsed() < LIMIT, "it is still kept");
        world.stop_worker().await;
        world.start_worker().await;
    }
}

#[tokio::test]
async fn a_second_message_that_differs_in_any_field_is_a_conflict_while_the_first_waits() {
    let mut world = world(&[]).await;
    let fields = [
        ("expect", json!({"name": "another"})),
        ("deadline", json!(far(2))),
        ("on_in_use", json!("reject")),
        ("case_id", json!("another")),
    ];
    let assets = fields.clone().map(|(field, _)| field);
    world.sandbox.add_all(assets.map(str::to_owned)).await;
    world.sandbox.job("video_1", &assets, "processing").await;
    let mut said = Vec::new();
    for (field, value) in &fields {
        said.push((*field, answer_beside_the_first(&mut world, field, value).await));
    }
    let conflict = "rejected/request_conflict".to_owned();
    assert_eq!(said, assets.map(|field| (field, conflict.clone())));
    world.sandbox.job("video_1", &assets, "completed").await;
    for field in assets {
        let event = world.broker.results(field, 2).await.remove(1).event;
        assert_eq!((outcome(&event), &event["data"]["case_id"]), (("deleted", ""), &json!("first")), "{field}");
    }
    world.finish(0).await;
}

/// Asks for an asset in use, then asks again with another value of one field; how the second message is answered soon.
async fn answer_beside_the_first(world: &mut World, field: &str, value: &Value) -> String {
    let first = json!({"request_id": field, "asset_id": field, "case_id": "first", "deadline": far(1)});
    world.ask(first.clone()).await;
    world.sandbox.until_called("jobs", field, 1).await;
    world.ask(with(&first, field, value.clone())).await;
    world.broker.requests_answered(0).await;
    let (broker, began) = (&world.broker, std::time::Instant::now());
    let answered = || async {
        let seen = broker.seen();
        let own = seen.iter().find(|one| one.event["data"]["request_id"] == field);
        let said = own.map(|one| [outcome(&one.event).0, outcome(&one.event).1].join("/"));
        said.or_else(|| (began.elapsed() > SOON).then(|| "no answer".to_owned()))
    };
    until_within(SOON * 2, "an answer", answered).await
}

/// A regression guard: repeating a message is how a requester asks again for a lost answer.
#[tokio::test]
async fn two_messages_that_are_equal_in_every_field_are_one_request() {
    let mut world = world(&[]).await;
    world.sandbox.add_named("a", "film", "video").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    let request = json!({
        "request_id": "r", "asset_id": "a", "requested_by": "desk", "reason": "Art. 17", "case_id": "c",
        "case_size": 1, "on_in_use": "wait", "deadline": far(1), "dry_run": false,
        "expect": {"name": "film", "asset_type": "video"},
    });
    for _ in 0..2 {
        world.ask(request.clone()).await;
    }
    world.sandbox.until_called("jobs", "a", 3).await;
    world.sandbox.job("video_1", &["a"], "completed").await;
    world.broker.results("r", 2).await;
    world.ask(request).await;
    let results = world.broker.results("r", 3).await;
    assert!(results.iter().all(|one| one.text == results[0].text), "one event, three times");
    assert_eq!(outcome(&results[0].event), ("deleted", ""));
    let completed = world.broker.completed("c", 1).await.remove(0).event;
    assert_eq!(completed["data"]["outcomes"]["deleted"], 1);
    assert_eq!(deletes(&world.sandbox.calls().await), 1);
    world.finish(0).await;
}

#[tokio::test]
async fn two_deployments_give_two_event_ids_to_one_request_id() {
    let (mut one, mut other) = (world(&[]).await, world(&[]).await);
    let ids = [one.delete("a").await["id"].clone(), other.delete("a").await["id"].clone()];
    assert_ne!(ids[0], ids[1], "the event IDs of two deployments");
    one.finish(0).await;
    other.finish(0).await;
}
