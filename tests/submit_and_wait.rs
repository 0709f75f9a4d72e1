//! `submit --wait`: every answer is heard once, whatever happens to the way it takes.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::faults::proxy::Proxy;
use crate::permissions::restricted;
use crate::submit::{amqp, ended, start};
use crate::support::party::url;
use crate::support::private::PrivateBroker;
use crate::support::sandbox::answer;
use crate::support::{World, deletes, until, world};

/// The URL by way of a proxy.
fn by_way_of(proxy: &Proxy) -> String {
    let mut url = url::Url::parse(&amqp()).unwrap();
    url.set_port(Some(proxy.port)).unwrap();
    url.to_string()
}

fn assets(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("a{number:04}")).collect()
}

/// Makes so many assets, and a file with a line for each.
async fn list(world: &mut World, count: usize) {
    world.sandbox.add_all(assets(count)).await;
    world.asked_for(assets(count));
    std::fs::write(world.dir.path().join("list.txt"), assets(count).join("\n")).unwrap();
}

/// The provider's own record: not one asset was deleted twice, and all are gone.
async fn each_was_deleted_once(world: &World, count: usize) {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for call in world.sandbox.calls().await.iter().filter(|call| call["operation"] == "delete") {
        *times.entry(call["asset"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(times, assets(count).into_iter().map(|asset| (asset, 1)).collect());
    assert_eq!(world.sandbox.assets().await.len(), 0);
}

/// The lines of a file of results.
fn results(world: &World, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(world.dir.path().join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn totals(said: &str) -> Value {
    serde_json::from_str(said.lines().find(|line| line.starts_with('{')).expect(said)).unwrap()
}

#[tokio::test]
async fn every_outcome_is_told_and_told_again() {
    let mut world = world(&[("PROVIDER__REFUSED_CODES", "1001")]).await;
    world.sandbox.add_all(["a", "c", "d", "e"].map(str::to_owned)).await;
    world.asked_for(["a", "e"].map(str::to_owned));
    let refused = answer(200, &json!({"code": "1001", "msg": "not yours"}));
    world.sandbox.fault("delete", "e", 0, refused).await;
    let list = "asset_id,expect.name,dry_run\na,,false\nb,,false\nc,,true\nd,Dog,false\ne,,false\n";
    std::fs::write(world.dir.path().join("list.csv"), list).unwrap();
    let args = ["--file", "list.csv", "--yes", "--wait"];
    let first = ended(&world, start(&world, "first", &amqp(), &args)).await;
    assert_eq!(first.0, Some(1), "{}", first.1);
    for part in [
        "outcome         cause                       requests\n",
        "already_absent                                     1\n",
        "deleted                                            1\n",
        "would_delete                                       1\n",
        "rejected        asset_mismatch                     1\n",
        "failed          provider_refused                   1\n",
        "total                                              5\n",
        "line 5: d (request ",
        "rejected / asset_mismatch: expected name \"Dog\", the provider says",
        "line 6: e (request ",
        "To ask again for what was not done: another --batch",
        "2 of 5 requests were not done",
    ] {
        assert!(first.1.contains(part), "{part}: {}", first.1);
    }
    let metrics = world.get("/metrics").await.1;
    assert!(metrics.contains("asset_eraser_replies_unroutable_total 0\n"), "every copy arrived: {metrics}");
    let calls = world.sandbox.calls().await.len();
    let again = [&args[..], &["--json", "--results", "results.ndjson"]].concat();
    let (code, said) = ended(&world, start(&world, "again", &amqp(), &again)).await;
    assert_eq!((code, world.sandbox.calls().await.len()), (Some(1), calls), "answered without a call: {said}");
    let told = totals(&said);
    assert_eq!((&told["end"], &told["answered"], &told["requests"]), (&json!("done"), &json!(5), &json!(5)));
    assert!(
        told["outcomes"]
            .as_array()
            .unwrap()
            .contains(&json!({"outcome": "failed", "cause": "provider_refused", "requests": 1}))
    );
    // It names people: their own file.
    let mode = world.dir.path().join("results.ndjson").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut lines = results(&world, "results.ndjson");
    lines.sort_by_key(|line| line["line"].as_u64());
    let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["deleted", "already_absent", "would_delete", "rejected", "failed"]);
    assert_eq!(
        (&lines[0]["line"], &lines[0]["asset_id"], &lines[0]["verified"]),
        (&json!(2), &json!("a"), &json!(true))
    );

    world.sandbox.no_faults().await;
    let batch = ["e", "--yes", "--wait", "--batch", "again"];
    let (code, said) = ended(&world, start(&world, "batch", &amqp(), &batch)).await;
    assert_eq!(code, Some(0), "{said}");
    world.finish(0).await;
}

#[tokio::test]
async fn a_wait_that_is_too_long_or_interrupted_says_where_it_stands() {
    let mut world = world(&[]).await;
    list(&mut world, 2).await;
    world.sandbox.job("video_1", &["a0001"], "processing").await;
    let args = ["--file", "list.txt", "--yes", "--wait"];
    let timed = ["a0001", "--yes", "--wait", "--timeout", "1s"];
    let (code, said) = ended(&world, start(&world, "timed", &amqp(), &timed)).await;
    assert_eq!(code, Some(1), "{said}");
    for part in
        ["not answered                                       1\n", "Run the same command again", "--timeout is over"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    for (signal, wanted) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let results = [&args[..], &["--results", "results.ndjson"]].concat();
        let process = start(&world, "interrupted", &amqp(), &results);
        let file = world.dir.path().join("results.ndjson");
        until("one is answered", || async { process.output().contains("1 of 2 answered").then_some(()) }).await;
        process.signal(signal);
        let (code, said) = ended(&world, process).await;
        assert_eq!(code, Some(wanted), "{said}");
        assert!(said.contains("Run the same command again") && said.contains("interrupted"), "{said}");
        assert!(std::fs::read_to_string(&file).unwrap().contains("a0000"), "what was answered is kept");
    }
    world.sandbox.job("video_1", &[], "completed").await;
    let (code, said) = ended(&world, start(&world, "end", &amqp(), &args)).await;
    assert_eq!(code, Some(0), "{said}");
    each_was_deleted_once(&world, 2).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_submission_that_is_killed_is_simply_run_again() {
    let mut world = world(&[]).await;
    world.sandbox.latency(10).await;
    list(&mut world, 300).await;
    let args = ["--file", "list.txt", "--yes", "--wait"];
    for kill in 1..=2 {
        let process = start(&world, &format!("killed-{kill}"), &amqp(), &args);
        let goal = world.broker.answered() + 50;
        world.broker.requests_answered(goal).await;
        process.signal(Signal::SIGKILL);
        assert!(world.broker.answered() < 300, "kill {kill} comes too late");
    }
    world.sandbox.latency(0).await;
    let (code, said) = ended(&world, start(&world, "last", &amqp(), &args)).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("deleted                                          300\n"), "{said}");
    each_was_deleted_once(&world, 300).await;
    world.finish(0).await;
}

#[tokio::test]
async fn answers_that_a_broken_connection_has_swallowed_are_asked_for_again() {
    let mut world = world(&[]).await;
    world.sandbox.latency(10).await;
    list(&mut world, 300).await;
    let upstream = url::Url::parse(&amqp()).unwrap();
    let upstream = format!("{}:{}", upstream.host_str().unwrap(), upstream.port().unwrap_or(5672));
    let proxy = Proxy::start(&upstream).await;
    let args = ["--file", "list.txt", "--yes", "--wait", "--results", "results.ndjson"];
    let process = start(&world, "submit", &by_way_of(&proxy), &args);
    for cut in 1..=2 {
        let goal = world.broker.answered() + 50;
        world.broker.requests_answered(goal).await;
        assert!(world.broker.answered() < 300, "cut {cut} comes too late");
        proxy.cut();
    }
    let (code, said) = ended(&world, process).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("trying again") && said.contains("deleted                                          300\n"),
        "{said}"
    );
    let mut lines: Vec<u64> =
        results(&world, "results.ndjson").iter().map(|one| one["line"].as_u64().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (1..=300).collect::<Vec<u64>>(), "each answer counts once");
    each_was_deleted_once(&world, 300).await;
    world.finish(0).await;
}

#[tokio::test]
async fn what_stays_without_an_answer_is_asked_for_again() {
    let mut world = world(&[]).await;
    list(&mut world, 1).await;
    world.stop_worker().await;
    let args = ["--file", "list.txt", "--yes", "--wait", "--ask-again", "1s"];
    let process = start(&world, "submit", &amqp(), &args);
    let broker = &world.broker;
    let (properties, _) = until("the request is there", || broker.take("requests")).await;
    assert!(properties.message_id().is_some() && properties.delivery_mode() == &Some(2));
    world.start_worker().await;
    let (code, said) = ended(&world, process).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("no answer for 1s; asking again for those that are missing"), "{said}");
    each_was_deleted_once(&world, 1).await;
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_needs_no_other_permissions_and_is_known_by_its_name() {
    let broker = PrivateBroker::start();
    // With the permissions of SECURITY.md; the worker listens to desk alone.
    let mut world = restricted(&broker).await;
    list(&mut world, 3).await;
    let args = ["--file", "list.txt", "--yes", "--wait"];
    let (code, said) = ended(&world, start(&world, "desk", &url(&broker, "desk"), &args)).await;
    assert_eq!(code, Some(0), "{said}");
    each_was_deleted_once(&world, 3).await;
    let (code, said) = ended(&world, start(&world, "reader", &url(&broker, "reader"), &args)).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ACCESS_REFUSED"), "{said}");
    assert_eq!(deletes(&world.sandbox.calls().await), 3);
    world.finish(0).await;
}
