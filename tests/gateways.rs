//! Other gateways in front of the same upstream, and keys that see nothing: the right answer, the right proof, and no line
//! that stops for one asset.

use serde_json::{Value, json};

use crate::support::process::Process;
use crate::support::{World, deletes, outcome, until, world};

/// Rules for a gateway that answers a missing asset with an HTTP error.
const RULES: &str = r#"[
    {"operation": "detail", "status": 404, "code": "NotFound.asset_id", "means": "gone"},
    {"operation": "detail", "status": 500, "code": "ASSET_NOT_FOUND", "means": "gone"},
    {"operation": "detail", "status": 502, "message": "NotFound.asset_id", "means": "gone"},
    {"operation": "detail", "status": 400, "message": "does not exist", "means": "gone"},
    {"status": "2xx", "code": 10029, "means": "too_many"}]"#;

fn proof(event: &Value) -> (&str, &str, bool) {
    let data = &event["data"];
    let (outcome, proof) = (data["outcome"].as_str().unwrap(), data["proof"].as_str().unwrap_or_default());
    (outcome, proof, data["verified"].as_bool().unwrap())
}

const ERASED: (&str, &str, bool) = ("deleted", "erased", true);

async fn never_stopped(world: &mut World) {
    let metrics = world.get("/metrics").await.1;
    let stopped = metrics.lines().filter(|line| line.starts_with("asset_eraser_circuit_opened_total"));
    assert!(stopped.clone().all(|line| line.ends_with(" 0")), "{:?}", stopped.collect::<Vec<_>>());
    let output = world.output(1);
    assert!(!output.contains("stopped consuming"), "{output}");
}

#[tokio::test]
async fn a_missing_asset_may_be_an_http_error_where_a_rule_says_so() {
    let mut world = world(&[("PROVIDER__ANSWERS", RULES), ("PROVIDER__CONTROL_ASSET", "control")]).await;
    world.sandbox.add("control").await;
    for mode in ["missing_404", "missing_500", "missing_502", "missing_400"] {
        world.sandbox.gateway(mode, "").await;
        assert_eq!(proof(&world.delete(mode).await), ERASED, "{mode}");
        let missing = format!("never-{mode}");
        world.ask(json!({"request_id": missing, "asset_id": missing})).await;
        assert_eq!(proof(&world.broker.result(&missing).await), ("already_absent", "absent", true), "{mode}");
    }
    never_stopped(&mut world).await;
    world.finish(0).await;
}

#[tokio::test]
async fn an_answer_that_no_rule_is_for_proves_nothing_and_stops_nothing_for_good() {
    let mut world = world(&[]).await;
    for asset in ["a", "b", "c"] {
        world.sandbox.gateway("missing_404", asset).await;
        let event = world.delete(asset).await;
        assert_eq!(outcome(&event), ("failed", "attempts_exhausted"), "{event}");
        assert_eq!(event["data"]["delete_sent"], true);
        let detail = event["data"]["detail"].as_str().unwrap();
        assert!(detail.contains("provider.answers"), "{detail}");
    }
    assert_eq!(proof(&world.delete("well").await), ERASED);
    world.until_ready(true).await;
    world.finish(0).await;
}

#[tokio::test]
async fn an_envelope_of_another_kind_is_read_by_rules() {
    let rules = r#"[{"operation": "detail", "status": 404, "code": "NotFound.asset_id", "means": "gone"},
                    {"status": 200, "means": "found"}]"#;
    let mut world = world(&[("PROVIDER__ANSWERS", rules)]).await;
    world.sandbox.gateway("ark", "").await;
    let event = world.delete("a").await;
    assert_eq!(proof(&event), ERASED, "{event}");
    let provider = &event["data"]["provider"];
    assert_eq!((&provider["status"], &provider["rule"]), (&json!(200), &json!("provider.answers[2]")));
    world.finish(0).await;
}

#[tokio::test]
async fn a_row_that_is_kept_with_the_status_deleted_is_gone() {
    let mut world = world(&[]).await;
    world.sandbox.gateway("soft_delete", "").await;
    let event = world.delete("a").await;
    assert_eq!(proof(&event), ERASED);
    never_stopped(&mut world).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_deletion_that_takes_a_while_is_looked_at_along_the_ladder() {
    let mut world = world(&[("RETRY__WAIT_STEPS", "200ms,400ms,800ms,1s,2s,4s,8s")]).await;
    world.sandbox.slow_deletes(2_500).await;
    let event = world.delete("a").await;
    assert_eq!(proof(&event), ERASED, "{event}");
    assert!(event["data"]["attempts"].as_u64().unwrap() > 1, "{event}");
    assert!(world.sample(0, r#"asset_eraser_put_off_total{reason="still_present"}"#).await >= 1.0);
    never_stopped(&mut world).await;
    world.finish(0).await;
}

#[tokio::test]
async fn too_many_calls_are_said_in_many_ways_and_are_the_fault_of_none() {
    let mut world = world(&[("PROVIDER__ANSWERS", RULES), ("PROVIDER__MAX_PAUSE", "1s")]).await;
    for mode in ["too_many_420", "too_many_200"] {
        world.sandbox.add(mode).await;
        world.sandbox.gateway(mode, "").await;
        world.ask(json!({"request_id": mode, "asset_id": mode})).await;
        world.sandbox.until_called("detail", mode, 3).await;
        assert!(world.broker.seen().iter().all(|one| one.event["data"]["request_id"] != mode));
        world.sandbox.gateway("documented", "").await;
        assert_eq!(proof(&world.broker.result(mode).await), ERASED, "{mode}");
    }
    let rejected = r#"asset_eraser_provider_calls_total{operation="detail",result="too_many"}"#;
    assert!(world.sample(0, rejected).await >= 6.0, "three for each way");
    world.until_ready(true).await;
    world.finish(0).await;
}

#[tokio::test]
async fn one_locked_asset_ends_its_own_request_and_stops_nothing() {
    let mut world = world(&[]).await;
    for asset in ["locked-1", "locked-2", "locked-3"] {
        world.sandbox.add(asset).await;
        world.sandbox.gateway("locked_403", asset).await;
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    for asset in ["well-1", "well-2"] {
        assert_eq!(proof(&world.delete(asset).await), ERASED);
    }
    for asset in ["locked-1", "locked-2", "locked-3"] {
        let event = world.broker.result(asset).await;
        assert_eq!(outcome(&event), ("failed", "provider_refused"), "{event}");
        assert_eq!(event["data"]["attempts"], 3, "one try and one for each of the two steps: {event}");
        assert_eq!(event["data"]["provider"]["code"], "OperationDenied.InvalidState");
    }
    never_stopped(&mut world).await;
    world.finish(0).await;
}

#[tokio::test]
async fn an_asset_that_the_provider_calls_in_use_waits_like_one_that_a_job_uses() {
    let mut world = world(&[("GUARD__POLL", "100ms")]).await;
    world.sandbox.add("a").await;
    world.sandbox.gateway("in_use_409", "").await;
    world.ask(json!({"request_id": "a", "asset_id": "a"})).await;
    world.sandbox.until_called("delete", "a", 4).await;
    assert!(world.broker.seen().is_empty(), "no step is used up for it");
    world.sandbox.gateway("documented", "").await;
    assert_eq!(proof(&world.broker.result("a").await), ERASED);

    world.sandbox.add("b").await;
    world.sandbox.gateway("in_use_409", "b").await;
    world.ask(json!({"request_id": "b", "asset_id": "b", "on_in_use": "reject"})).await;
    let event = world.broker.result("b").await;
    assert_eq!(outcome(&event), ("rejected", "in_use"));
    assert!(event["data"]["detail"].as_str().unwrap().contains("HTTP 409"), "{event}");
    assert_eq!(deletes(&world.sandbox.calls_of("b").await), 1);
    world.finish(0).await;
}

#[tokio::test]
async fn a_wrong_key_is_waited_for() {
    for (mode, cause) in [("wrong_key", "provider_key"), ("forbidden", "provider_key")] {
        let mut world = world(&[]).await;
        world.sandbox.gateway(mode, "").await;
        for asset in ["a", "b"] {
            world.sandbox.add(asset).await;
            world.ask(json!({"request_id": asset, "asset_id": asset})).await;
        }
        assert_eq!(world.until_ready(false).await["stopped"][0]["cause"], cause, "{mode}");
        world.sandbox.gateway("documented", "").await;
        for asset in ["a", "b"] {
            assert_eq!(proof(&world.broker.result(asset).await), ERASED, "{mode}");
        }
        world.until_ready(true).await;
        world.finish(0).await;
    }
}

fn amqp() -> String {
    std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`")
}

/// Whether a command succeeded, and what it printed.
async fn printed(mut command: Process) -> (bool, String) {
    let ended = command.ended().await;
    (ended.success(), command.stdout())
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

async fn ask_all(world: &mut World, assets: &[String]) {
    world.sandbox.add_all(assets.to_vec()).await;
    for asset in assets {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
}

#[tokio::test]
async fn the_key_of_another_account_never_gets_more_than_unconfirmed() {
    let mut world = world(&[("PROVIDER__ABSENT_STREAK", "0")]).await;
    world.sandbox.gateway("wrong_account", "").await;
    let assets = names("a", 1_000);
    ask_all(&mut world, &assets).await;
    world.broker.requests_answered(1_000).await;
    for one in world.broker.seen() {
        assert_eq!(proof(&one.event), ("already_absent", "unconfirmed", false), "{}", one.event);
    }
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    assert_eq!(world.get("/v1/assets/a-1").await.0, 404, "it is not known to be deleted");
    let request: Value = serde_json::from_str(&world.get("/v1/requests/a-1").await.1).unwrap();
    assert_eq!(request["proof"], "unconfirmed");
    assert!(world.get("/metrics").await.1.contains(r#"asset_eraser_proofs_total{proof="unconfirmed"} 1000"#));
    world.finish(0).await;
}

#[tokio::test]
async fn many_assets_that_are_not_found_in_a_row_stop_consuming_until_one_is_found() {
    let mut world = world(&[]).await;
    world.sandbox.gateway("wrong_account", "").await;
    let assets = names("a", 200);
    ask_all(&mut world, &assets).await;
    let ready = world.until_ready(false).await;
    assert_eq!(ready["stopped"][0]["cause"], "nothing_found", "{ready}");
    assert!(ready["stopped"][0]["why"].as_str().unwrap().contains("provider.control_asset"), "{ready}");
    world.broker.requests_answered(1).await;
    let broker = &world.broker;
    let rest = until("the others are back", || async {
        let waiting = broker.count("requests").await as usize;
        (waiting + broker.answered() == 200).then_some(waiting)
    })
    .await;
    assert!(rest >= 180, "fewer than twenty were answered: {rest}");
    assert!(world.broker.seen().iter().all(|one| proof(&one.event) == ("already_absent", "unconfirmed", false)));
    world.sandbox.gateway("documented", "").await;
    world.broker.requests_answered(200).await;
    let erased = world.broker.seen().iter().filter(|one| proof(&one.event) == ERASED).count();
    assert_eq!(erased, rest);
    world.until_ready(true).await;
    world.finish(0).await;
}

#[tokio::test]
async fn with_a_control_asset_a_wrong_account_answers_no_request_at_all() {
    let mut world = world(&[("PROVIDER__CONTROL_ASSET", "control")]).await;
    world.sandbox.add("control").await;
    world.sandbox.gateway("wrong_account", "").await;
    let assets = names("a", 100);
    ask_all(&mut world, &assets).await;
    let ready = world.until_ready(false).await;
    assert_eq!(ready["stopped"][0]["cause"], "control_lost", "{ready}");
    let broker = &world.broker;
    until("all are back", || async { (broker.count("requests").await == 100).then_some(()) }).await;
    assert!(world.broker.seen().is_empty());
    world.sandbox.gateway("documented", "").await;
    world.broker.requests_answered(100).await;
    assert!(world.broker.seen().iter().all(|one| proof(&one.event) == ERASED));
    assert!(world.sandbox.exists("control").await);
    world.finish(0).await;
}

#[tokio::test]
async fn the_control_asset_is_never_deleted() {
    let mut world = world(&[("PROVIDER__CONTROL_ASSET", "control")]).await;
    let event = world.delete("control").await;
    assert_eq!(outcome(&event), ("rejected", "protected"));
    assert!(event["data"]["detail"].as_str().unwrap().contains("provider.control_asset"), "{event}");
    assert!(world.sandbox.exists("control").await);
    world.finish(0).await;
}

#[tokio::test]
async fn an_asset_that_was_never_seen_is_never_said_to_be_deleted() {
    let settings = [("PROVIDER__CONFIRM_TARGET", "false"), ("PROVIDER__CONTROL_ASSET", "control")];
    let mut world = world(&settings).await;
    world.sandbox.add("control").await;
    // The DELETE is cut on its way there, or is answered "not found".
    world.sandbox.fault("delete", "cut", 1, json!({"cut": "before"})).await;
    for asset in ["cut", "missing"] {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
        assert_eq!(proof(&world.broker.result(asset).await), ("already_absent", "absent", true), "{asset}");
    }
    // "Deleted" is the provider's word alone: this key never saw it.
    assert_eq!(proof(&world.delete("there").await), ("deleted", "provider_word", false));
    world.finish(0).await;
}

#[tokio::test]
async fn without_a_look_afterwards_the_proof_is_the_provider_s_word() {
    let mut world = world(&[("PROVIDER__VERIFY", "false")]).await;
    assert_eq!(proof(&world.delete("a").await), ("deleted", "provider_word", false));
    let asset: Value = serde_json::from_str(&world.get("/v1/assets/a").await.1).unwrap();
    assert_eq!((&asset["state"], &asset["proof"]), (&json!("deleted"), &json!("provider_word")));
    world.finish(0).await;
}

#[tokio::test]
async fn an_unclear_delete_needs_a_control_after_the_last_look() {
    let mut world = world(&[]).await;
    let cut = json!({"cut": "after"});
    world.sandbox.fault("delete", "a", 1, cut.clone()).await;
    assert_eq!(proof(&world.delete("a").await), ("deleted", "unconfirmed", false), "no other asset was found after it");
    let asset: Value = serde_json::from_str(&world.get("/v1/assets/a").await.1).unwrap();
    assert_eq!(asset["state"], "deleting", "a DELETE may have been sent; more is not known");
    world.stop_worker().await;
    world.set("PROVIDER__CONTROL_ASSET", "control");
    world.sandbox.add("control").await;
    world.start_worker().await;
    world.sandbox.fault("delete", "b", 1, cut).await;
    assert_eq!(proof(&world.delete("b").await), ERASED);
    world.finish(0).await;
}

#[tokio::test]
async fn the_asset_s_own_url_is_asked_after_the_deletion() {
    let settings =
        [("PROVIDER__VERIFY_URL", "true"), ("BACKUP__ALLOW_HTTP", "true"), ("BACKUP__ALLOW_HOSTS", "127.0.0.1")];
    let mut world = world(&settings).await;
    let event = world.delete("a").await;
    assert_eq!((proof(&event), &event["data"]["url_serves"]), (ERASED, &json!(false)));
    world.sandbox.gateway("cdn_keeps", "").await;
    let event = world.delete("b").await;
    assert_eq!((proof(&event), &event["data"]["url_serves"]), (ERASED, &json!(true)));
    let file = world.sandbox.calls_of("b").await.into_iter().find(|call| call["operation"] == "file").unwrap();
    assert!(file["headers"]["authorization"].is_null(), "no token goes there: {file}");
    let metrics = world.get("/metrics").await.1;
    for sample in [r#"url_checks_total{serves="yes"} 1"#, r#"url_checks_total{serves="no"} 1"#] {
        assert!(metrics.contains(sample), "{metrics}");
    }
    world.finish(0).await;
}

#[tokio::test]
async fn check_says_what_the_control_says() {
    let mut world = World::without_worker(&amqp(), &[]).await;
    let said = printed(world.command("check")).await;
    assert!(said.1.contains("warning: without provider.control_asset"), "{}", said.1);
    world.set("PROVIDER__CONTROL_ASSET", "control");
    let said = printed(world.command("check")).await;
    assert!(!said.0 && said.1.contains("the control asset is not found"), "{}", said.1);
    world.sandbox.add("control").await;
    let said = printed(world.command("check")).await;
    assert!(said.0 && said.1.contains("control asset found"), "{}", said.1);
}

#[tokio::test]
async fn recorded_answers_are_read_by_the_rules() {
    let mut world = World::without_worker(&amqp(), &[("PROVIDER__ANSWERS", RULES)]).await;
    let file = world.dir.path().join("answers.ndjson");
    let answers = [
        json!({"operation": "detail", "status": 404, "body": {"error": {"code": "NotFound.asset_id"}}}),
        json!({"operation": "delete", "status": 200, "body": "{\"code\":\"0\"}"}),
        json!({"status": 429, "headers": {"Retry-After": "1.5"}}),
    ];
    std::fs::write(&file, answers.map(|answer| answer.to_string()).join("\n")).unwrap();
    let said = printed(world.command_with(&["check", "--answers", file.to_str().unwrap()])).await;
    assert!(said.0, "{}", said.1);
    let lines: Vec<Vec<&str>> = said.1.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["1", "detail", "404", "gone", "provider.answers[1]"]);
    assert_eq!(lines[2], ["2", "delete", "200", "ok", "built", "in:", "code", "0"]);
    assert_eq!(lines[3], ["3", "detail", "429", "too_many", "1500ms", "built", "in:", "HTTP", "429"]);
    assert_eq!(lines.len(), 6, "one of an unknown call is read as each: {lines:?}");
}
