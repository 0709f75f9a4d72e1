//! No secret leaves. (Every test looks for the tokens in everything that its worker printed and served, at the most
//! verbose level; the broker password of the others is too common a word for that.)

use serde_json::json;

use crate::support::private::PrivateBroker;
use crate::support::sandbox::answer;
use crate::support::{World, outcome, world_at};

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_password_is_never_printed() {
    let broker = PrivateBroker::start();
    let password = format!("pw-{}", uuid::Uuid::new_v4().simple());
    broker.ctl(&["add_user", "eraser", &password]);
    broker.ctl(&["set_permissions", "eraser", ".*", ".*", ".*"]);
    let url = broker.url.replace("guest:guest", &format!("eraser:{password}"));
    let mut world = world_at(&url, &[]).await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    broker.ctl(&["close_all_connections", "test"]);
    world.broker.reconnect().await;
    assert_eq!(outcome(&world.delete("b").await), ("deleted", ""));

    // A provider that puts the key into its answer.
    let token = world.provider_token().to_owned();
    let echo = json!({"code": "1403", "msg": format!("key {token} may not")});
    world.sandbox.fault("delete", "c", 0, answer(200, &echo)).await;
    assert_eq!(outcome(&world.delete("c").await), ("failed", "provider_refused"));

    // Refused, with a password that is wrong.
    let wrong = format!("pw-{}", uuid::Uuid::new_v4().simple());
    let wrong_url = url.replace(&password, &wrong);
    let mut other = World::without_worker(&broker.url, &[("BROKER__URL", &wrong_url)]).await;
    let mut check = other.command("check");
    assert_eq!(check.ended().await.code(), Some(1));
    let said = check.output();
    assert!(said.contains("FAIL  broker") && !said.contains(&wrong), "{said}");
    for command in ["check", "config"] {
        world.command(command).ended().await;
    }
    world.finish(0).await;
}
