//! What job starters and requesters are told over HTTP, by any replica.

use serde_json::{Value, json};

use crate::support::private::PrivatePostgres;
use crate::support::{World, outcome, world};

async fn ask(world: &World, replica: &str, path: &str, token: &str) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("{replica}/v1/{path}")).bearer_auth(token).send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    world.no_secret_in(&text);
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_tells_where_an_asset_and_a_request_stand() {
    let postgres = PrivatePostgres::start();
    let token = format!("stok-{}", uuid::Uuid::new_v4().simple());
    let mut world = world(&[("LEDGER__URL", &postgres.url), ("HTTP__TOKEN", &token)]).await;
    world.add_replicas(1).await;
    let replicas = world.addresses().await;
    for replica in &replicas {
        assert_eq!(ask(&world, replica, "assets/a", "wrong").await.0, 401);
        let unknown = json!({"asset_id": "a", "state": "unknown"});
        assert_eq!(ask(&world, replica, "assets/a", &token).await, (404, unknown));
    }
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.ask(json!({"request_id": "case/7", "asset_id": "a"})).await;
    world.sandbox.until_called("jobs", "a", 1).await;
    for replica in &replicas {
        let (status, asset) = ask(&world, replica, "assets/a", &token).await;
        assert_eq!((status, &asset["state"], &asset["request_id"]), (200, &json!("requested"), &json!("case/7")));
    }
    world.sandbox.job("video_1", &["a"], "completed").await;
    let event = world.broker.result("case/7").await;
    assert_eq!(outcome(&event), ("deleted", ""));
    for replica in &replicas {
        assert_eq!(ask(&world, replica, "assets/a", &token).await.1["state"], "deleted");
        let (status, request) = ask(&world, replica, "requests/case%2F7", &token).await;
        assert_eq!((status, &request["outcome"], &request["event"]), (200, &json!("deleted"), &event));
    }
    // Without its ledger a replica says that it does not know: a client must not take that for "unknown".
    postgres.kill();
    let (status, error) = ask(&world, &replicas[0], "assets/a", &token).await;
    assert_eq!((status, error), (503, json!({"error": "the ledger cannot be asked now"})));
    postgres.start_again();
    world.until_ready(true).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_request_is_on_record_before_the_guard_is_first_asked() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("jobs", "a", 1, json!({"delay_ms": 1500})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("jobs", "a", 1).await;
    for path in ["/v1/assets/a", "/v1/requests/r"] {
        let (status, said) = world.get(path).await;
        assert_eq!(status, 200, "{path} while the first question is on its way: {said}");
    }
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}
