//! Copies of results for those who asked: a `reply_to` that makes the broker close the connection costs its copy only.

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use serde_json::json;

use crate::support::{outcome, until, world};

/// Names of direct reply-to with keys that were made up.
const POISON: [&str; 6] = [
    "amq.rabbitmq.reply-to.AAAA.AAAA",
    "amq.rabbitmq.reply-to.g2gCZAANbm9ub2RlQG5vaG9zdAAAAAAAAAAAAAAAAA==.AAAA",
    "amq.rabbitmq.reply-to.====.====",
    "amq.rabbitmq.reply-to.",
    "amq.rabbitmq.reply-to.AAAA",
    "amq.rabbitmq.reply-to.a.b.c.d",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_that_closes_the_connection_costs_its_copy_and_is_not_tried_again() {
    let mut world = world(&[]).await;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let replies = world.broker.channel().queue_declare("".into(), options, FieldTable::default()).await.unwrap();
    let well = replies.name().as_str().to_owned();
    let mut asked = Vec::new();
    for (number, poison) in POISON.iter().enumerate() {
        for (kind, queue) in [("poison", *poison), ("well", &well)] {
            let asset = format!("{kind}-{number}");
            world.sandbox.add(&asset).await;
            let properties = BasicProperties::default().with_reply_to(queue.into());
            world.ask_with(json!({"request_id": asset, "asset_id": asset}), properties).await;
            asked.push(asset);
        }
    }
    for asset in &asked {
        let results = world.broker.results(asset, 1).await;
        assert_eq!((results.len(), outcome(&results[0].event)), (1, ("deleted", "")), "{asset}");
    }
    for _ in POISON {
        until("a copy arrives", || async {
            let options = BasicGetOptions { no_ack: true };
            world.broker.channel().basic_get(well.as_str().into(), options).await.unwrap()
        })
        .await;
    }
    let said = world.worker().output();
    assert_eq!(said.matches("broker connected").count(), 1, "{said}");
    assert_eq!(world.broker.events(), asked.len(), "each result is published once");
    world.finish(0).await;
}
