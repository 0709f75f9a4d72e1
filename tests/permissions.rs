//! The permissions that SECURITY.md gives to each user of the broker: enough for its work, and for nothing else.

use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ErrorKind};
use serde_json::{Value, json};

use crate::support::party::{Party, add_user, url};
use crate::support::private::PrivateBroker;
use crate::support::{LIMIT, World, deletes, outcome, until};

/// RabbitMQ's answer to what a user has no permission for.
const ACCESS_REFUSED: u16 = 403;

/// The users of SECURITY.md.
const USERS: [&str; 5] = ["eraser", "desk", "reader", "archive", "sexton"];

/// Runs the commands of SECURITY.md, for the exchange of this test instead of the usual one.
fn permit(broker: &PrivateBroker, prefix: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md");
    let page = std::fs::read_to_string(path).unwrap();
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("rabbitmqctl ")).collect();
    for user in USERS {
        add_user(broker, user);
        let own = commands.iter().filter(|command| command.split_whitespace().any(|word| word == user));
        assert!(own.clone().count() > 0, "SECURITY.md has a command for {user}");
        for command in own {
            let command = command.replace(r"asset\.deletion", prefix).replace("asset.deletion", prefix);
            broker.ctl(&command.split_whitespace().map(|word| word.trim_matches('\'')).collect::<Vec<_>>());
        }
    }
}

/// A worker with the permissions of SECURITY.md, whom only `desk` may ask.
pub async fn restricted(broker: &PrivateBroker) -> World {
    let own = url(broker, "eraser");
    let settings = [("BROKER__URL", own.as_str()), ("PUBLISHERS__ALLOW", "desk"), ("BROKER__STARTED_EVENTS", "true")];
    let mut world = World::without_worker(&broker.url, &settings).await;
    permit(broker, &world.broker.prefix);
    world.start_worker().await;
    world
}

fn desk() -> BasicProperties {
    BasicProperties::default().with_user_id("desk".into())
}

fn request(asset: &str) -> Value {
    json!({"request_id": format!("r-{asset}"), "asset_id": asset})
}

fn refused<T>(result: Result<T, lapin::Error>, what: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{what} was allowed"));
    let code = match error.kind() {
        ErrorKind::ProtocolError(said) => said.get_id(),
        _ => panic!("{what}: {error}"),
    };
    assert_eq!(code, ACCESS_REFUSED, "{what}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_does_all_of_its_work_with_the_permissions_that_it_is_given() {
    let broker = PrivateBroker::start();
    let mut world = restricted(&broker).await;
    let (desk_party, prefix) = (Party::connect(&broker, "desk").await, world.broker.prefix.clone());
    world.sandbox.add_all(["a", "b"].map(str::to_owned)).await;
    world.asked_for(["a", "b"].map(str::to_owned));
    world.sandbox.job("video_1", &["a"], "processing").await;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let replies = world.broker.channel().queue_declare("".into(), options, FieldTable::default()).await.unwrap();
    // Put off, answered with a copy, buried, and back in the queue when the worker stops.
    let properties = desk().with_reply_to(replies.name().as_str().into());
    desk_party.publish(&prefix, "request", &request("a"), properties).await.unwrap();
    desk_party.publish(&prefix, "request", &json!({"request_id": "bad"}), desk()).await.unwrap();
    world.sandbox.until_called("jobs", "a", 3).await;
    world.stop_worker().await;
    world.start_worker().await;
    world.sandbox.job("video_1", &[], "completed").await;
    assert_eq!(outcome(&world.broker.result("r-a").await), ("deleted", ""));
    assert_eq!(outcome(&world.broker.result("bad").await), ("rejected", "invalid_request"));
    let got = until("the reply arrives", || async {
        let options = BasicGetOptions { no_ack: true };
        world.broker.channel().basic_get(replies.name().as_str().into(), options).await.unwrap()
    })
    .await;
    assert_eq!(serde_json::from_slice::<Value>(&got.delivery.data).unwrap()["data"]["request_id"], "r-a");

    // Results carry the worker's name, which the broker vouches for.
    let results = world.broker.seen();
    assert!(results.iter().all(|one| one.properties.user_id().as_ref().is_some_and(|user| user.as_str() == "eraser")));
    world.finish(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_looks_after_dead_letters_can_do_nothing_else() {
    let broker = PrivateBroker::start();
    let mut world = restricted(&broker).await;
    let (desk_party, prefix) = (Party::connect(&broker, "desk").await, world.broker.prefix.clone());
    for n in 0..2 {
        desk_party.publish(&prefix, "request", &json!({"no": n}), desk()).await.unwrap();
    }
    until("both are dead", || async { (world.broker.count("dead").await == 2).then_some(()) }).await;
    world.set("BROKER__URL", &url(&broker, "sexton"));
    let mut run = async |args: &[&str]| {
        let mut command = world.command_with(args);
        let status = command.ended().await;
        assert!(status.success(), "{args:?}: {}", command.output());
        command.output()
    };
    let listed: Value = serde_json::from_str(&run(&["dead", "list", "--json"]).await).unwrap();
    let id = listed["letters"][0]["id"].as_str().unwrap();
    assert_eq!(listed["letters"][0]["publisher"], "eraser", "who that is, sexton does not know");
    assert!(run(&["dead", "list"]).await.contains("--worker-user eraser"));
    let listed: Value =
        serde_json::from_str(&run(&["dead", "list", "--json", "--worker-user", "eraser"]).await).unwrap();
    assert_eq!(listed["letters"][0]["publisher"], "desk");
    assert!(run(&["dead", "show", id, "--worker-user", "eraser"]).await.contains("published by: desk"));
    run(&["dead", "drop", "--yes", id]).await;
    run(&["dead", "replay", "--yes", "--all"]).await;
    until("it is dead again", || async { (world.broker.count("dead").await == 1).then_some(()) }).await;

    let sexton = Party::connect(&broker, "sexton").await;
    for key in ["request", "dead", "result.deleted"] {
        let published = sexton.publish(&prefix, key, &request("a"), BasicProperties::default()).await;
        refused(published, &format!("publishing with key {key}"));
    }
    let queue = format!("{prefix}.requests");
    let got = sexton.channel().await.basic_get(queue.into(), BasicGetOptions::default()).await;
    refused(got, "reading requests");
    world.set("BROKER__URL", &url(&broker, "eraser"));
    world.finish(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_not_write_to_reply_queues_answers_all_the_same() {
    let broker = PrivateBroker::start();
    let mut world = restricted(&broker).await;
    world.stop_worker().await;
    let own = format!(r"^{0}(\.(requests|dead|results|wait\..+))?$", world.broker.prefix);
    broker.ctl(&["set_permissions", "-p", "/", "eraser", &own, &own, &own]);
    world.start_worker().await;
    let desk_party = Party::connect(&broker, "desk").await;
    for asset in ["a", "b"] {
        world.sandbox.add(asset).await;
        world.asked_for([asset.to_owned()]);
        let properties = desk().with_reply_to("desk.replies".into());
        desk_party.publish(&world.broker.prefix, "request", &request(asset), properties).await.unwrap();
        assert_eq!(outcome(&world.broker.result(&format!("r-{asset}")).await), ("deleted", ""));
    }
    world.until_sample("asset_eraser_replies_unroutable_total", 2.0).await;
    let seen = world.broker.seen();
    assert_eq!(seen.len(), 2, "no session was lost over it, so nothing was answered twice");
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_can_ask_and_nothing_else() {
    let broker = PrivateBroker::start();
    let mut world = restricted(&broker).await;
    let (desk_party, prefix) = (Party::connect(&broker, "desk").await, world.broker.prefix.clone());
    world.sandbox.add("a").await;
    world.asked_for(["a".to_owned()]);
    desk_party.publish(&prefix, "request", &request("a"), desk()).await.unwrap();
    assert_eq!(outcome(&world.broker.result("r-a").await), ("deleted", ""));

    let forged = json!({"specversion": "1.0", "type": "asset.deletion.deleted.v1", "data": {"request_id": "r-b"}});
    for key in ["result.deleted", "result.case_completed", "event.started", "dead", "wait.200ms", "requests"] {
        refused(desk_party.publish(&prefix, key, &forged, desk()).await, key);
    }
    for queue in ["results", "requests", "dead", "wait.200ms"] {
        let name = world.broker.queue(queue);
        refused(desk_party.publish("", &name, &forged, desk()).await, &format!("publish to {name}"));
        let (get, consume) = (BasicGetOptions { no_ack: true }, BasicConsumeOptions::default());
        refused(desk_party.channel().await.basic_get(name.as_str().into(), get).await, &format!("get {name}"));
        let channel = desk_party.channel().await;
        let consumed = channel.basic_consume(name.as_str().into(), "".into(), consume, FieldTable::default()).await;
        refused(consumed, &format!("consume {name}"));
        let purged = desk_party.channel().await.queue_purge(name.as_str().into(), QueuePurgeOptions::default()).await;
        refused(purged, &format!("purge {name}"));
        let deleted =
            desk_party.channel().await.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await;
        refused(deleted, &format!("delete {name}"));
    }
    let own = desk_party.channel().await;
    let declared = own.queue_declare("desk.own".into(), QueueDeclareOptions::default(), FieldTable::default()).await;
    refused(declared, "declare a queue");
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_can_read_results_and_nothing_else() {
    let broker = PrivateBroker::start();
    let mut world = restricted(&broker).await;
    let prefix = world.broker.prefix.clone();
    let archive = Party::connect(&broker, "archive").await;
    let channel = archive.channel().await;
    channel
        .queue_declare("archive.results".into(), QueueDeclareOptions::default(), FieldTable::default())
        .await
        .unwrap();
    let bind = async |key: &str| {
        let (channel, options) = (archive.channel().await, QueueBindOptions::default());
        let (queue, exchange) = ("archive.results".into(), prefix.as_str().into());
        channel.queue_bind(queue, exchange, key.into(), options, FieldTable::default()).await
    };
    bind("result.#").await.unwrap();
    for key in ["request", "#", "*", "wait.200ms", "dead"] {
        refused(bind(key).await, &format!("bind {key}"));
    }
    // Nor can a queue of its own hand messages on to where requests come from.
    for (exchange, key) in [(prefix.clone(), "request".to_owned()), (String::new(), world.broker.queue("requests"))] {
        let mut arguments = FieldTable::default();
        for (name, value) in [("x-dead-letter-exchange", exchange), ("x-dead-letter-routing-key", key)] {
            arguments.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let (channel, options) = (archive.channel().await, QueueDeclareOptions::default());
        refused(
            channel.queue_declare("archive.trap".into(), options, arguments).await,
            "dead-letter into the requests",
        );
    }
    let desk_party = Party::connect(&broker, "desk").await;
    world.sandbox.add("a").await;
    world.asked_for(["a".to_owned()]);
    desk_party.publish(&prefix, "request", &request("a"), desk()).await.unwrap();
    let reader = Party::connect(&broker, "reader").await;
    let results = world.broker.queue("results");
    let reading = reader.channel().await;
    for (channel, queue) in [(&reading, results.as_str()), (&channel, "archive.results")] {
        let got = until("the result is there", || async {
            channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()
        })
        .await;
        assert_eq!(serde_json::from_slice::<Value>(&got.delivery.data).unwrap()["data"]["request_id"], "r-a");
    }
    for (name, party) in [("reader", &reader), ("archive", &archive)] {
        let user = || BasicProperties::default().with_user_id(name.into());
        for key in ["request", "result.deleted"] {
            refused(party.publish(&prefix, key, &request("b"), user()).await, &format!("{name}: publish {key}"));
        }
        refused(party.publish("", &world.broker.queue("requests"), &request("b"), user()).await, "publish to requests");
        for queue in ["requests", "dead", "wait.200ms"] {
            let (channel, queue) = (party.channel().await, world.broker.queue(queue));
            let got = channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true }).await;
            refused(got, &format!("{name}: get {queue}"));
        }
    }
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_needs_no_queue_to_get_its_own_answers() {
    let broker = PrivateBroker::start();
    let mut world = restricted(&broker).await;
    let desk_party = Party::connect(&broker, "desk").await;
    world.sandbox.add("a").await;
    world.asked_for(["a".to_owned()]);
    // RabbitMQ's direct reply-to: consumed and published on one channel.
    let channel = desk_party.channel().await;
    let (queue, options) =
        ("amq.rabbitmq.reply-to", BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() });
    let mut answers = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap();
    let (exchange, body) = (world.broker.prefix.as_str().into(), request("a").to_string());
    let properties = desk().with_reply_to(queue.into());
    let sent = channel
        .basic_publish(exchange, "request".into(), BasicPublishOptions::default(), body.as_bytes(), properties)
        .await;
    sent.unwrap().await.unwrap();
    let answer = tokio::time::timeout(LIMIT, answers.next()).await.unwrap().unwrap().unwrap();
    let event: Value = serde_json::from_slice(&answer.data).unwrap();
    assert_eq!((&event["data"]["request_id"], outcome(&event)), (&json!("r-a"), ("deleted", "")));
    world.finish(0).await;
}

/// What SECURITY.md says to do about a stolen account.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stolen_account_has_queued_is_refused_once_it_is_off_the_list() {
    let broker = PrivateBroker::start();
    let mut world = restricted(&broker).await;
    let (thief, prefix) = (Party::connect(&broker, "desk").await, world.broker.prefix.clone());
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    thief.publish(&prefix, "request", &request("a"), desk()).await.unwrap();
    world.sandbox.until_called("jobs", "a", 1).await;
    broker.ctl(&["clear_permissions", "-p", "/", "desk"]);
    broker.close_connections("desk", "stolen");
    world.stop_worker().await;
    world.set("PUBLISHERS__ALLOW", "another-desk");
    world.start_worker().await;
    world.sandbox.job("video_1", &[], "completed").await;
    let seen = world.broker.result("r-a").await;
    assert_eq!(outcome(&seen), ("rejected", "publisher_not_allowed"));
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    let url = url(&broker, "desk");
    let again = lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await;
    assert!(again.is_err(), "it may not even connect");
    world.finish(1).await;
}

/// RabbitMQ 4.0 looks at the keys in the header `CC` too, 3.10 does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_another_user_never_carries_the_worker_s_name() {
    let broker = PrivateBroker::start();
    let mut world = restricted(&broker).await;
    let (desk_party, prefix) = (Party::connect(&broker, "desk").await, world.broker.prefix.clone());
    world.sandbox.add("a").await;
    world.asked_for(["a".to_owned()]);
    let copied_to_results = |properties: BasicProperties| {
        let (mut headers, keys) = (FieldTable::default(), vec![AMQPValue::LongString("result.deleted".into())]);
        headers.insert("CC".into(), AMQPValue::FieldArray(keys.into()));
        properties.with_headers(headers)
    };
    let as_worker = copied_to_results(BasicProperties::default().with_user_id("eraser".into()));
    let error = desk_party.publish(&prefix, "request", &request("a"), as_worker).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ProtocolError(_)), "{error}");
    let sent = desk_party.publish(&prefix, "request", &request("a"), copied_to_results(desk())).await;
    let forged = sent.is_ok();
    if !forged {
        refused(sent, "a copy into the results");
        desk_party.publish(&prefix, "request", &request("a"), desk()).await.unwrap();
    }
    assert_eq!(outcome(&world.broker.result("r-a").await), ("deleted", ""));
    let broker = &world.broker;
    let seen = until("everything is there", || async {
        let seen = broker.seen();
        (seen.len() == 1 + usize::from(forged)).then_some(seen)
    })
    .await;
    for one in seen {
        let real = one.key == "result.deleted";
        let wanted = if real { "eraser" } else { "desk" };
        assert_eq!(one.properties.user_id().as_ref().unwrap().as_str(), wanted, "{}", one.text);
    }
    world.stop_worker().await;
}
