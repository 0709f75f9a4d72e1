//! A database with a standby: its primary dies, or is fenced off, and the standby takes its place.

use std::time::Duration;

use serde_json::json;
use tokio_postgres::NoTls;

use crate::support::private::PrivatePostgres;
use crate::support::{World, deletes, outcome, until, world};

/// The URL with both servers as hosts.
pub fn both(first: &PrivatePostgres, second: &PrivatePostgres) -> String {
    let port = |server: &PrivatePostgres| url::Url::parse(&server.url).unwrap().port().unwrap();
    let (one, two) = (format!("127.0.0.1:{}", port(first)), format!("127.0.0.1:{}", port(second)));
    first.url.replace(&one, &format!("{one},{two}"))
}

/// Statements, each by itself: `ALTER SYSTEM` cannot run inside of a transaction.
async fn run(server: &PrivatePostgres, statements: &[&str]) {
    let (client, connection) = tokio_postgres::connect(&server.url, NoTls).await.unwrap();
    tokio::spawn(connection);
    for statement in statements {
        client.batch_execute(statement).await.unwrap();
    }
}

async fn shows(server: &PrivatePostgres, setting: &str) -> String {
    let (client, connection) = tokio_postgres::connect(&server.url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0)
}

/// Changes a setting of a server that runs, for sessions that are open too.
async fn set(server: &PrivatePostgres, setting: &str, value: &str) {
    run(server, &[&format!("ALTER SYSTEM SET {setting} = '{value}'"), "SELECT pg_reload_conf()"]).await;
    until(setting, || async { (shows(server, setting).await == value).then_some(()) }).await;
    // The other sessions are told at the same time and have nothing else to do.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

async fn deletes_an_asset(world: &mut World, asset: &str) {
    assert_eq!(outcome(&world.delete(asset).await), ("deleted", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_no_ledger_until_it_is_promoted() {
    let primary = PrivatePostgres::start();
    let standby = primary.standby(true);
    let mut world = world(&[("LEDGER__URL", &both(&primary, &standby))]).await;
    world.sandbox.add("open").await;
    world.sandbox.job("video_1", &["open"], "processing").await;
    world.ask(json!({"request_id": "r", "asset_id": "open"})).await;
    world.sandbox.until_called("jobs", "open", 2).await;
    assert_eq!(world.get("/v1/assets/open").await.0, 200);
    primary.kill();
    for _ in 0..40 {
        let (status, body) = world.get("/v1/assets/open").await;
        assert_eq!(status, 503, "an open request is unknown: {body}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let said = world.until_ready(false).await;
    assert_eq!(said["stopped"][0]["cause"], "ledger", "{said}");
    assert!(said.to_string().contains("standby"), "{said}");
    standby.promote();
    world.until_ready(true).await;
    assert_eq!(world.get("/v1/assets/open").await.0, 200);
    world.sandbox.job("video_1", &["open"], "completed").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    deletes_an_asset(&mut world, "later").await;
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_primary_is_left_for_the_new_one() {
    let old = PrivatePostgres::start();
    let new = old.standby(true);
    let mut world = world(&[("LEDGER__URL", &both(&old, &new))]).await;
    deletes_an_asset(&mut world, "before").await;
    // The old primary goes on to answer every read, and its sessions stay.
    set(&old, "default_transaction_read_only", "on").await;
    new.promote();
    deletes_an_asset(&mut world, "after").await;
    assert_eq!(world.get("/v1/assets/before").await.0, 200);
    world.finish(0).await;
}

/// A job table on the server, and what a worker needs to ask it.
async fn job_table(server: &PrivatePostgres) -> (&'static str, &'static str) {
    run(server, &["CREATE TABLE jobs (id text PRIMARY KEY, asset text, status text)"]).await;
    ("GUARD__POSTGRES__QUERY", "SELECT id, status FROM jobs WHERE asset = $1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_table_on_a_fenced_primary_is_left_for_the_one_on_the_new_primary() {
    let old = PrivatePostgres::start();
    let query = job_table(&old).await;
    let new = old.standby(true);
    let mut world = world(&[("GUARD__POSTGRES__URL", &both(&old, &new)), query]).await;
    deletes_an_asset(&mut world, "before").await;
    set(&old, "default_transaction_read_only", "on").await;
    new.promote();
    run(&new, &["INSERT INTO jobs VALUES ('video_9', 'a', 'processing')"]).await;
    world.sandbox.add("a").await;
    world.ask(json!({"request_id": "r", "asset_id": "a", "on_in_use": "reject"})).await;
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("rejected", "in_use"));
    assert!(event["data"]["detail"].to_string().contains("video_9"), "{event}");
    deletes_an_asset(&mut world, "after").await;
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_table_on_a_standby_keeps_the_asset_unless_the_operator_allows_it() {
    let primary = PrivatePostgres::start();
    let query = job_table(&primary).await;
    let standby = primary.standby(true);
    let steps = ("RETRY__WAIT_STEPS", "200ms,200ms,200ms,200ms,400ms,400ms,400ms,400ms");
    let mut world = world(&[("GUARD__POSTGRES__URL", &standby.url), query, steps]).await;
    world.sandbox.add("a").await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.until_sample(r#"asset_eraser_put_off_total{reason="guard"}"#, 1.0).await;
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    let said = world.output(1);
    assert!(said.contains("job table: ") && said.contains("this server is a standby"), "{said}");
    let mut check = world.command("check");
    assert_eq!(check.ended().await.code(), Some(1));
    assert!(check.output().contains("guard.postgres.allow_standby"), "{}", check.output());
    world.stop_worker().await;
    world.set("GUARD__POSTGRES__ALLOW_STANDBY", "true");
    world.start_worker().await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_whose_commits_may_be_lost_is_not_used() {
    let server = PrivatePostgres::start();
    let mut world = world(&[("LEDGER__URL", &server.url)]).await;
    for (number, value) in ["local", "remote_write", "off"].into_iter().enumerate() {
        set(&server, "synchronous_commit", value).await;
        let (asset, request) = (format!("a{number}"), format!("r{number}"));
        world.sandbox.add(&asset).await;
        world.ask(json!({"request_id": request, "asset_id": asset})).await;
        let said = world.until_ready(false).await;
        assert_eq!(said["stopped"][0]["cause"], "ledger", "{said}");
        let mut refused = world.command("run");
        assert_eq!(refused.ended().await.code(), Some(1));
        for part in [format!("synchronous_commit is {value}"), "SET synchronous_commit = on".to_owned()] {
            assert!(refused.output().contains(&part), "{}", refused.output());
        }
        assert_eq!(deletes(&world.sandbox.calls_of(&asset).await), 0);
        set(&server, "synchronous_commit", "on").await;
        world.until_ready(true).await;
        assert_eq!(outcome(&world.broker.result(&request).await), ("deleted", ""));
    }
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_a_failover_or_a_power_cut_could_lose() {
    let primary = PrivatePostgres::start();
    let mut world = world(&[("LEDGER__URL", &primary.url)]).await;
    let ledger = |output: &str| output.lines().find(|line| line.contains("ledger ")).unwrap_or_default().to_owned();
    let said = async |world: &mut World| {
        let mut check = world.command("check");
        assert!(check.ended().await.success(), "{}", check.output());
        ledger(&check.output())
    };
    assert_eq!(said(&mut world).await, "ok    ledger    can be written");
    let standby = primary.standby(false);
    // The standby is named first, and left for the primary.
    world.set("LEDGER__URL", &both(&standby, &primary));
    let told = said(&mut world).await;
    assert!(
        told.starts_with("ok ") && told.contains("asynchronous") && told.contains("synchronous_standby_names"),
        "{told}"
    );
    set(&primary, "synchronous_standby_names", "*").await;
    assert_eq!(said(&mut world).await, "ok    ledger    can be written");
    drop(standby);
    set(&primary, "synchronous_standby_names", "").await;
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_that_a_server_does_not_sync() {
    let server = PrivatePostgres::start_with(|_| "fsync = off\n".to_owned());
    let mut world = world(&[("LEDGER__URL", &server.url)]).await;
    let mut check = world.command("check");
    assert!(check.ended().await.success(), "{}", check.output());
    assert!(check.output().contains("fsync is off"), "{}", check.output());
    world.finish(0).await;
}
