//! A table of jobs as a source of the guard, beside the registry: every source has to say that an asset is free.

use serde_json::json;
use tokio_postgres::{Client, NoTls};

use crate::support::{World, deletes, outcome, world};

/// A table of the test's own on the server of `DATABASE_URL`.
struct Jobs {
    client: Client,
    name: String,
    url: String,
}

impl Jobs {
    async fn new() -> Self {
        let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run the tests with `make test`");
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let name = format!("jobs_{}", uuid::Uuid::new_v4().simple());
        let jobs = Self { client, name, url };
        jobs.run("CREATE TABLE {} (id bigint PRIMARY KEY, asset text, status text)").await;
        jobs
    }

    /// `{}` is the table.
    async fn run(&self, sql: &str) {
        self.client.batch_execute(&sql.replace("{}", &self.name)).await.unwrap();
    }

    async fn world(&self, more: &[(&str, &str)]) -> World {
        let query = format!("SELECT id, status FROM {} WHERE asset = $1 -- every job;", self.name);
        let own = [("GUARD__POSTGRES__URL", self.url.as_str()), ("GUARD__POSTGRES__QUERY", &query)];
        world(&[&own, more].concat()).await
    }
}

#[tokio::test]
async fn an_asset_is_free_when_registry_and_table_both_say_so() {
    let jobs = Jobs::new().await;
    let mut world = jobs.world(&[]).await;
    // Each source knows of a job on one of two assets.
    jobs.run("INSERT INTO {} VALUES (7, 'a', 'processing'), (8, 'a', 'completed'), (9, 'other', 'queued')").await;
    world.sandbox.add_all(["a".to_owned(), "b".to_owned()]).await;
    world.sandbox.job("video_1", &["b"], "processing").await;
    for asset in ["a", "b"] {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
        world.ask(json!({"request_id": format!("now-{asset}"), "asset_id": asset, "on_in_use": "reject"})).await;
    }
    for (asset, job) in [("a", "7"), ("b", "video_1")] {
        let event = world.broker.result(&format!("now-{asset}")).await;
        assert_eq!(outcome(&event), ("rejected", "in_use"));
        assert!(event["data"]["detail"].as_str().unwrap().ends_with(job), "{event}");
    }
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    jobs.run("UPDATE {} SET status = 'failed' WHERE id = 7").await;
    world.sandbox.job("video_1", &["b"], "completed").await;
    for asset in ["a", "b"] {
        assert_eq!(outcome(&world.broker.result(asset).await), ("deleted", ""));
    }
    world.finish(0).await;
    jobs.run("DROP TABLE {}").await;
}

#[tokio::test]
async fn a_table_that_cannot_answer_keeps_the_asset() {
    let jobs = Jobs::new().await;
    let steps = ("RETRY__WAIT_STEPS", "200ms,200ms,200ms,200ms,400ms,400ms,400ms,400ms");
    let mut world = jobs.world(&[steps]).await;
    // A job without a status is no answer, and a table that is gone is none.
    jobs.run("INSERT INTO {} VALUES (7, 'a', NULL)").await;
    world.sandbox.add_all(["a".to_owned(), "b".to_owned()]).await;
    world.ask(json!({"request_id": "ra", "asset_id": "a"})).await;
    world.until_sample(r#"asset_eraser_put_off_total{reason="guard"}"#, 1.0).await;
    jobs.run("ALTER TABLE {} RENAME TO {}_away").await;
    world.ask(json!({"request_id": "rb", "asset_id": "b"})).await;
    world.sandbox.until_called("jobs", "b", 3).await;
    let mut check = world.command("check");
    assert_eq!(check.ended().await.code(), Some(1));
    let said = check.output();
    assert!(
        said.contains("FAIL  guard     job table: postgres://127.0.0.1") && said.contains("does not exist"),
        "{said}"
    );
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    jobs.run("ALTER TABLE {}_away RENAME TO {}").await;
    jobs.run("DELETE FROM {}").await;
    for request in ["ra", "rb"] {
        assert_eq!(outcome(&world.broker.result(request).await), ("deleted", ""));
    }
    world.finish(0).await;
    jobs.run("DROP TABLE {}").await;
}

#[tokio::test]
async fn a_guard_never_writes() {
    let jobs = Jobs::new().await;
    jobs.run("INSERT INTO {} VALUES (7, 'a', 'completed')").await;
    jobs.run(
        "CREATE FUNCTION f_{}(text) RETURNS TABLE (id bigint, status text) LANGUAGE sql
              AS 'DELETE FROM {} WHERE asset = $1 RETURNING id, status'",
    )
    .await;
    let query = format!("SELECT id, status FROM f_{}($1)", jobs.name);
    let mut world = jobs.world(&[("GUARD__POSTGRES__QUERY", &query)]).await;
    let mut check = world.command("check");
    assert_eq!(check.ended().await.code(), Some(1));
    assert!(check.output().contains("read-only transaction"), "{}", check.output());
    jobs.run("DROP FUNCTION f_{}").await;
    world.finish(0).await;
    jobs.run("DROP TABLE {}").await;
}

#[tokio::test]
async fn a_job_in_the_table_that_starts_while_the_registry_takes_its_time_keeps_the_asset() {
    let jobs = Jobs::new().await;
    let mut world = jobs.world(&[("GUARD__HTTP__TIMEOUT", "10s")]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("jobs", "a", 1, json!({"delay_ms": 2500})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a", "on_in_use": "reject"})).await;
    world.sandbox.until_called("jobs", "a", 1).await;
    // The table was asked at the same time as the registry, and has answered.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    jobs.run("INSERT INTO {} VALUES (7, 'a', 'processing')").await;
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("rejected", "in_use"));
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    world.finish(0).await;
    jobs.run("DROP TABLE {}").await;
}

#[tokio::test]
async fn a_login_that_may_only_read_is_enough_and_a_query_that_takes_too_long_is_ended() {
    let jobs = Jobs::new().await;
    let login = format!("reader_{}", uuid::Uuid::new_v4().simple());
    jobs.run(&format!(
        "CREATE ROLE {login} LOGIN PASSWORD 'read-word'; ALTER ROLE {login} SET default_transaction_read_only = on;
         GRANT SELECT ON {{}} TO {login}"
    ))
    .await;
    let mut url = url::Url::parse(&jobs.url).unwrap();
    url.set_username(&login).unwrap();
    url.set_password(Some("read-word")).unwrap();
    let mut world = jobs.world(&[("GUARD__POSTGRES__URL", url.as_str())]).await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    world.set("GUARD__POSTGRES__TIMEOUT", "300ms");
    world.set("GUARD__POSTGRES__QUERY", "SELECT pg_sleep(60)::text AS id, $1 AS status");
    let mut check = world.command("check");
    assert_eq!(check.ended().await.code(), Some(1));
    assert!(check.output().contains("FAIL  guard     job table"), "{}", check.output());
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let running = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{login}' AND state = 'active'");
    let still: i64 = jobs.client.query_one(&running, &[]).await.unwrap().get(0);
    assert_eq!(still, 0, "the server ends what the worker no longer waits for");
    world.finish(0).await;
    jobs.run(&format!("DROP TABLE {{}}; DROP ROLE {login}")).await;
}
