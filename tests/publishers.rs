//! Only those may ask whom `publishers.allow` names; the broker vouches for who a user is.

use std::collections::BTreeSet;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::support::party::{Party, add_user, url};
use crate::support::private::PrivateBroker;
use crate::support::{World, deletes, outcome, until, world_at};

/// A broker with users: `guest`, the test itself, who may ask; the worker's own; and one more.
fn broker() -> PrivateBroker {
    let broker = PrivateBroker::start();
    for user in ["eraser", "mallory"] {
        add_user(&broker, user);
        broker.ctl(&["set_permissions", "-p", "/", user, ".*", ".*", ".*"]);
    }
    broker
}

async fn restricted(broker: &PrivateBroker) -> World {
    let own = url(broker, "eraser");
    world_at(&broker.url, &[("BROKER__URL", &own), ("PUBLISHERS__ALLOW", "guest,another")]).await
}

/// Another user's way to the broker.
struct Mallory(Party);

impl Mallory {
    async fn connect(broker: &PrivateBroker) -> Self {
        Self(Party::connect(broker, "mallory").await)
    }

    async fn publish(&self, world: &World, request: &Value, properties: BasicProperties) -> Result<(), lapin::Error> {
        self.0.publish(&world.broker.prefix, "request", request, properties).await
    }
}

fn guest() -> BasicProperties {
    BasicProperties::default().with_user_id("guest".into())
}

fn forged() -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("x-asset-eraser-user-id".into(), AMQPValue::LongString("guest".into()));
    BasicProperties::default().with_headers(headers)
}

fn header(properties: &BasicProperties, name: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        _ => None,
    }
}

#[tokio::test]
async fn who_published_a_request_is_known_also_after_it_has_waited() {
    let broker = broker();
    let mut world = restricted(&broker).await;
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.ask_with(json!({"request_id": "r", "asset_id": "a"}), guest()).await;
    // Twice through a wait queue, and back at the end of the queue when a worker stops.
    world.sandbox.until_called("jobs", "a", 3).await;
    world.stop_worker().await;
    world.start_worker().await;
    world.sandbox.until_called("jobs", "a", 5).await;
    world.sandbox.job("video_1", &[], "completed").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test]
async fn who_may_not_ask_gets_nothing_deleted_and_uses_up_no_request_id() {
    let broker = broker();
    let mut world = restricted(&broker).await;
    let mallory = Mallory::connect(&broker).await;
    world.sandbox.add_all(["a", "b"].map(str::to_owned)).await;
    let request = json!({"request_id": "r", "asset_id": "a", "case_id": "c", "case_size": 1});
    let as_mallory = || BasicProperties::default().with_user_id("mallory".into()).with_reply_to("mallorys".into());
    mallory.publish(&world, &request, as_mallory()).await.unwrap();
    let (properties, _) = until("the message is buried", || world.broker.take("dead")).await;
    assert_eq!(header(&properties, "x-asset-eraser-why").unwrap(), "publisher_not_allowed");
    assert_eq!(header(&properties, "x-asset-eraser-user-id").unwrap(), "mallory");
    for properties in [as_mallory(), BasicProperties::default(), forged()] {
        mallory.publish(&world, &request, properties).await.unwrap();
    }
    let malformed = json!({"request_id": "r", "asset_id": "a", "deadline": "soon"});
    mallory.publish(&world, &malformed, as_mallory()).await.unwrap();
    let results = world.broker.results("r", 5).await;
    assert!(results.iter().all(|one| outcome(&one.event) == ("rejected", "publisher_not_allowed")));
    let texts: BTreeSet<&str> = results.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(texts.len(), 3, "one answer for the same message, or for the same words without a user: {texts:?}");
    assert!(world.sandbox.calls_of("a").await.is_empty());

    // The request ID is as good as new.
    world.ask_with(json!({"request_id": "r", "asset_id": "b"}), guest()).await;
    let sixth = world.broker.results("r", 6).await.remove(5);
    assert_eq!(outcome(&sixth.event), ("deleted", ""));
    assert!(results.iter().all(|one| one.event["id"] != sixth.event["id"]));
    // Neither is it told what was decided under it.
    mallory.publish(&world, &json!({"request_id": "r", "asset_id": "b"}), as_mallory()).await.unwrap();
    let seventh = world.broker.results("r", 7).await.remove(6);
    assert_eq!(outcome(&seventh.event), ("rejected", "publisher_not_allowed"));
    assert_eq!(deletes(&world.sandbox.calls().await), 1);
    world.finish(5).await;
}

#[tokio::test]
async fn no_user_can_pass_for_another_not_even_while_the_worker_has_stopped_consuming() {
    let broker = broker();
    let mut world = restricted(&broker).await;
    let mallory = Mallory::connect(&broker).await;
    // The worker puts off whatever it holds, looked at or not.
    world.sandbox.fault("detail", "", 0, crate::support::sandbox::answer(401, &json!({}))).await;
    world.sandbox.add_all((0..40).map(|number| format!("a{number}"))).await;
    for number in 0..40 {
        let asset = format!("a{number}");
        let request = json!({"request_id": asset, "asset_id": asset});
        if number % 2 == 0 {
            world.ask_with(request, guest()).await;
        } else {
            mallory.publish(&world, &request, forged()).await.unwrap();
        }
    }
    world.until_ready(false).await;
    world.sandbox.no_faults().await;
    for number in 0..40 {
        let event = world.broker.result(&format!("a{number}")).await;
        let wanted = if number % 2 == 0 { ("deleted", "") } else { ("rejected", "publisher_not_allowed") };
        assert_eq!(outcome(&event), wanted);
    }
    for user in ["guest", "eraser"] {
        let mallory = Mallory::connect(&broker).await;
        let properties = forged().with_user_id(user.into());
        let refused = mallory.publish(&world, &json!({"request_id": "x", "asset_id": "x"}), properties).await;
        assert!(refused.unwrap_err().to_string().contains("user_id"), "the broker vouches for it");
    }
    world.finish(20).await;
}
