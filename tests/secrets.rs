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

/// A URL whose password is not encoded is taken apart at the wrong place, and a part of the password becomes a host.
#[tokio::test]
async fn a_password_that_is_not_encoded_is_refused_at_start_and_not_quoted() {
    let amqp = std::env::var("AMQP_URL").unwrap();
    for (key, url) in [
        ("GUARD__POSTGRES__URL", "postgres://jobs:Hunter@VerySecretRest@host/db"),
        ("LEDGER__URL", "postgres://jobs:Hunter/VerySecretRest@host/db"),
        ("BROKER__URL", "amqp://jobs:Hunter#VerySecretRest@host/db"),
        ("GUARD__HTTP__URL", "https://jobs:Hunter?VerySecretRest@host/{asset_id}"),
        ("PROVIDER__BASE_URL", "https://jobs:1/VerySecretRest@host/api"),
        ("TRACING__OTLP_ENDPOINT", "https://jobs:Hunter[VerySecretRest@host/"),
        ("BACKUP__URL", "s3://jobs:Hunter%VerySecretRest@host/"),
    ] {
        let query = ("GUARD__POSTGRES__QUERY", "SELECT id, status FROM jobs WHERE asset_id = $1");
        let settings: Vec<_> =
            [(key, url)].into_iter().chain((key == "GUARD__POSTGRES__URL").then_some(query)).collect();
        for command in ["run", "check", "config"] {
            let mut world = World::without_worker(&amqp, &settings).await;
            let mut process = world.command(command);
            assert_eq!(process.ended().await.code(), Some(2), "{key} {command}");
            let said = process.output();
            let setting = key.to_lowercase().replace("__", ".");
            assert!(
                said.contains(&setting) && said.contains("written as %") || said.contains("write it as %"),
                "{said}"
            );
            assert!(!said.contains("Secret") && !said.contains("Hunter"), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_password_that_was_changed_is_read_again_from_its_file() {
    let broker = PrivateBroker::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker-url");
    let password = format!("pw-{}-1", uuid::Uuid::new_v4().simple());
    let url = broker.url.replace("guest:guest", &format!("eraser:{password}"));
    broker.ctl(&["add_user", "eraser", &password]);
    broker.ctl(&["set_permissions", "eraser", ".*", ".*", ".*"]);
    std::fs::write(&file, &url).unwrap();
    let mut world = World::without_worker(&broker.url, &[]).await;
    world.unset("BROKER__URL");
    world.set("BROKER__URL_FILE", file.to_str().unwrap());
    world.start_worker().await;
    let changed = format!("pw-{}-2", uuid::Uuid::new_v4().simple());
    broker.ctl(&["change_password", "eraser", &changed]);
    broker.close_connections("eraser", "its password has changed");
    let refused = world.until_ready_says(|ready| ready["broker_why"].is_string()).await;
    assert!(refused["broker_why"].as_str().unwrap().contains("ACCESS_REFUSED"), "{refused}");
    std::fs::write(&file, url.replace(&password, &changed)).unwrap();
    world.until_ready(true).await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    let said = world.worker().output();
    assert!(!said.contains(&password) && !said.contains(&changed), "{said}");
    world.finish(0).await;
}

#[tokio::test]
async fn a_slash_at_the_end_of_the_broker_s_url_means_the_default_virtual_host() {
    let url = std::env::var("AMQP_URL").unwrap();
    let Some(bare) = url.strip_suffix("%2f") else { return };
    for ending in ["", "%2f"] {
        let mut world = world_at(&url, &[("BROKER__URL", &format!("{bare}{ending}"))]).await;
        assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
        world.finish(0).await;
    }
}
