//! Policies for all queues: what they do to the worker's queues is said, at work and by `check`.

use serde_json::{Value, json};

use crate::support::World;
use crate::support::private::PrivateBroker;

/// What `asset-eraser check` says of the broker.
async fn checked(world: &mut World) -> String {
    let mut command = world.command("check");
    command.ended().await;
    let said = command.output();
    said.lines().find(|line| line.contains(" broker ")).unwrap_or_else(|| panic!("{said}")).to_owned()
}

fn policy(broker: &PrivateBroker, world: &World, limits: &Value) {
    let pattern = format!("^{}", world.broker.prefix);
    broker.ctl(&["set_policy", "all", &pattern, &limits.to_string(), "--apply-to", "queues"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_limits_the_queues_is_noticed() {
    let broker = PrivateBroker::start();
    let mut world = World::without_worker(&broker.url, &[]).await;
    let said = checked(&mut world).await;
    assert!(said.starts_with("ok ") && !said.contains("policy") && !said.contains("policies"), "{said}");
    for (limits, found) in [
        (json!({"delivery-limit": 3}), "limits the deliveries"),
        (json!({"delivery-limit": 20}), "limits the deliveries"),
        (json!({"max-length": 5}), "limits the length"),
        (json!({"max-length": 5, "overflow": "drop-head"}), "limits the length"),
        (json!({"max-length-bytes": 2000}), "limits the length"),
    ] {
        policy(&broker, &world, &limits);
        let said = checked(&mut world).await;
        assert!(said.starts_with("ok ") && said.contains(found), "{limits}: {said}");
    }
    policy(&broker, &world, &json!({"delivery-limit": 3}));
    // The worker tries it once soon after its start, and rarely after that.
    world.start_worker().await;
    world.until_sample(r#"asset_eraser_policy_limits{limit="deliveries"}"#, 1.0).await;
    world.until_sample(r#"asset_eraser_policy_limits{limit="length"}"#, 0.0).await;
    world.finish(0).await;
}
