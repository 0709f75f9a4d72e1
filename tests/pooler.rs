//! A pooler between the worker and its databases.

use serde_json::json;

use crate::support::private::{PrivatePooler, PrivatePostgres};
use crate::support::{World, outcome, until, world};

/// A job table on the server, as guard, and the URL of the pooler for it and for the ledger.
fn behind(pooler: &PrivatePooler) -> [(&'static str, &str); 3] {
    let query = ("GUARD__POSTGRES__QUERY", "SELECT id, status FROM jobs WHERE asset = $1");
    [("LEDGER__URL", &pooler.url), ("GUARD__POSTGRES__URL", &pooler.url), query]
}

async fn run(url: &str, statements: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(statements).await.unwrap();
}

async fn with_job_table() -> PrivatePostgres {
    let server = PrivatePostgres::start();
    run(&server.url, "CREATE TABLE jobs (id text PRIMARY KEY, asset text, status text)").await;
    server
}

async fn deletes(world: &mut World, asset: &str) {
    assert_eq!(outcome(&world.delete(asset).await), ("deleted", ""));
}

/// `check` fails over `what`, and says each of `words`.
async fn check_refuses(world: &mut World, what: &str, words: &[&str]) {
    let mut check = world.command("check");
    assert_eq!(check.ended().await.code(), Some(1));
    let said = check.output();
    let line = said.lines().find(|line| line.starts_with(&format!("FAIL  {what}"))).unwrap_or_else(|| panic!("{said}"));
    assert!(words.iter().all(|word| line.contains(word)), "{line}\nshould have {words:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_session_mode_is_used_like_the_server_and_survived() {
    let server = with_job_table().await;
    let pooler = PrivatePooler::start(&server.url, "session");
    let mut world = world(&behind(&pooler)).await;
    deletes(&mut world, "a").await;
    let mut check = world.command("check");
    assert!(check.ended().await.success(), "{}", check.output());
    run(&server.url, "INSERT INTO jobs VALUES ('video_9', 'used', 'processing')").await;
    world.sandbox.add("used").await;
    world.ask(json!({"request_id": "r", "asset_id": "used", "on_in_use": "reject"})).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("rejected", "in_use"));
    pooler.kill();
    world.sandbox.add("b").await;
    world.ask(json!({"request_id": "s", "asset_id": "b"})).await;
    let said = world.until_ready(false).await;
    assert_eq!(said["stopped"][0]["cause"], "ledger", "{said}");
    pooler.start_again(&server.url, "session");
    world.until_ready(true).await;
    assert_eq!(outcome(&world.broker.result("s").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guard_promises_holds_behind_a_pooler_in_any_mode_that_has_transactions() {
    let server = with_job_table().await;
    run(
        &server.url,
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.theirs (id text, asset text, status text);
         CREATE FUNCTION writes(text) RETURNS TABLE (id text, status text) LANGUAGE sql
         AS 'INSERT INTO jobs VALUES ($1, $1, ''completed'') RETURNING id, status'",
    )
    .await;
    for mode in ["session", "transaction"] {
        let pooler = PrivatePooler::start(&server.url, mode);
        let mut world = world(&behind(&pooler)[1..]).await;
        deletes(&mut world, &format!("a-{mode}")).await;
        // Options that the pooler refuses in a start-up message are asked for in the session.
        let elsewhere = format!("{}?options=-c%20search_path%3Delsewhere", pooler.url);
        world.set("GUARD__POSTGRES__URL", &elsewhere);
        world.set("GUARD__POSTGRES__QUERY", "SELECT id, status FROM theirs WHERE asset = $1");
        let mut check = world.command("check");
        assert!(check.ended().await.success(), "{}", check.output());
        world.set("GUARD__POSTGRES__URL", &pooler.url);
        world.set("GUARD__POSTGRES__QUERY", "SELECT id, status FROM writes($1)");
        check_refuses(&mut world, "guard", &["read-only transaction", "must only read"]).await;
        world.set("GUARD__POSTGRES__QUERY", "SELECT pg_sleep(60)::text AS id, $1 AS status");
        world.set("GUARD__POSTGRES__TIMEOUT", "400ms");
        check_refuses(&mut world, "guard", &["job table"]).await;
        let sleeping = "SELECT 1 / (1 - count(*)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%'
                        AND state = 'active' AND pid <> pg_backend_pid()";
        until("the server to end the query", || async {
            let (client, connection) = tokio_postgres::connect(&server.url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(sleeping).await.ok()
        })
        .await;
        world.finish(0).await;
    }
    let statements = PrivatePooler::start(&server.url, "statement");
    let mut world = world(&[]).await;
    for (name, value) in &behind(&statements)[1..] {
        world.set(name, value);
    }
    check_refuses(&mut world, "guard", &["job table", "statement pooling mode"]).await;
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_behind_a_pooler_that_lends_sessions_is_refused_with_the_reason() {
    let server = with_job_table().await;
    for (mode, more) in [("transaction", ""), ("transaction", "server_round_robin = 1"), ("statement", "")] {
        let pooler = PrivatePooler::start_with(&server.url, mode, more);
        let amqp = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
        let mut world = World::without_worker(&amqp, &behind(&pooler)).await;
        let words: &[&str] = &["another session", "transaction or statement mode", "pool_mode = session"];
        check_refuses(&mut world, "ledger", words).await;
        let mut refused = world.command("run");
        assert_eq!(refused.ended().await.code(), Some(1));
        assert!(words.iter().all(|word| refused.output().contains(word)), "{}", refused.output());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_begins_to_lend_sessions_stops_the_line_until_it_no_longer_does() {
    let server = with_job_table().await;
    let pooler = PrivatePooler::start(&server.url, "session");
    let mut world = world(&behind(&pooler)).await;
    deletes(&mut world, "a").await;
    pooler.kill();
    pooler.start_again(&server.url, "transaction");
    world.sandbox.add("b").await;
    world.ask(json!({"request_id": "r", "asset_id": "b"})).await;
    let said = world.until_ready(false).await;
    assert!(said.to_string().contains("another session"), "{said}");
    pooler.mode("session");
    world.until_ready(true).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}
