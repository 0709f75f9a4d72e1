//! Every metric and label that the alerts and the dashboard name exists: a Prometheus scrapes a worker that has had
//! something to do, and a RabbitMQ with its plugin, with the configuration that is deployed.

use std::net::TcpListener;
use std::path::Path;

use lapin::BasicProperties;
use serde_json::json;

use super::dashboard::{dashboard, queries};
use super::selectors::{Matcher, Selector, selectors};
use super::{alerts, name, text};
use crate::support::private::PrivateBroker;
use crate::support::prometheus::{Prometheus, promtool};
use crate::support::{World, outcome, until, world_at};

/// A broker that Prometheus can ask, and where.
fn broker() -> (PrivateBroker, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let broker = PrivateBroker::start_with(|dir| {
        std::fs::write(dir.join("plugins"), "rabbitmq_prometheus").unwrap();
        format!("prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}\n")
    });
    (broker, format!("127.0.0.1:{port}"))
}

/// The deployed configuration, with the addresses of this test.
fn configuration(dir: &Path, worker: &str, rabbitmq: &str) -> std::path::PathBuf {
    let config = text("deploy/prometheus/prometheus.yml")
        .replace("worker:9464", worker.strip_prefix("http://").unwrap())
        .replace("rabbitmq:15692", rabbitmq)
        .replace("scrape_interval: 5s", "scrape_interval: 1s");
    std::fs::copy(super::path(super::ALERTS), dir.join("alerts.yml")).unwrap();
    let path = dir.join("prometheus.yml");
    std::fs::write(&path, config).unwrap();
    path
}

/// One request of most kinds, so that series exist whose labels are known only then.
async fn work(world: &mut World) {
    world.sandbox.add("busy").await;
    world.sandbox.job("video_1", &["busy"], "processing").await;
    world.ask(json!({"request_id": "r", "asset_id": "busy"})).await;
    world.sandbox.until_called("jobs", "busy", 2).await;
    world.sandbox.job("video_1", &["busy"], "completed").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.broker.publish_request(b"no request", BasicProperties::default()).await;
    world.broker.until_empty(1).await;
}

#[tokio::test]
async fn whatever_alerts_and_dashboard_ask_for_is_there() {
    let (rabbitmq, exporter) = broker();
    let mut world = world_at(&rabbitmq.url, &[]).await;
    work(&mut world).await;
    let dir = tempfile::tempdir().unwrap();
    let address = world.worker().address().await;
    let prometheus = Prometheus::start(&configuration(dir.path(), &address, &exporter)).await;
    until("all targets are scraped", || async {
        let up = prometheus.ask("query", "query", "sum(up) == 3").await;
        let dead = prometheus.ask("query", "query", "asset_eraser_dead_letters_total == 1").await;
        let all = [up, dead].iter().all(|answer| answer["result"].as_array().is_some_and(|found| !found.is_empty()));
        all.then_some(())
    })
    .await;

    let prefix = world.broker.prefix.clone();
    let here = |expr: &str| {
        expr.replace("asset.deletion", "$prefix")
            .replace("asset[.]deletion", "$prefix")
            .replace("$prefix", &prefix)
            .replace("$vhost", "/")
            .replace("$job", ".+")
            .replace("$instance", ".+")
            .replace("$__rate_interval", "5m")
    };
    let mut expressions: Vec<_> =
        alerts().iter().map(|alert| (name(alert).to_owned(), here(alert["expr"].as_str().unwrap()))).collect();
    expressions.extend(queries(&dashboard()).into_iter().map(|(title, expr)| (title, here(&expr))));
    assert!(expressions.len() > 80, "{}", expressions.len());
    are_accepted(dir.path(), &expressions);
    for (title, expr) in &expressions {
        prometheus.ask("query", "query", expr).await;
        let (found, labels) = selectors(expr);
        assert!(!found.is_empty(), "{title}: asks for nothing: {expr}");
        for selector in &found {
            exists(&prometheus, title, selector).await;
        }
        for label in labels {
            let mut known = false;
            for selector in &found {
                known |= prometheus.has(&format!("{}{{{label}!=\"\"}}", selector.metric)).await;
            }
            assert!(known, "{title}: no metric of it has the label {label}: {expr}");
        }
    }
    drop(prometheus);
    world.finish(1).await;
}

/// By `promtool`, as rules.
fn are_accepted(dir: &Path, expressions: &[(String, String)]) {
    let rules: Vec<_> = expressions
        .iter()
        .enumerate()
        .map(|(number, (_, expr))| json!({"record": format!("a:query:{number}"), "expr": expr}))
        .collect();
    let path = dir.join("queries.yml");
    std::fs::write(&path, json!({"groups": [{"name": "queries", "rules": rules}]}).to_string()).unwrap();
    promtool(&["check", "rules", "--lint=none", path.to_str().unwrap()]);
}

async fn exists(prometheus: &Prometheus, title: &str, selector: &Selector) {
    let metric = &selector.metric;
    assert!(prometheus.has(metric).await, "{title}: there is no metric {metric}");
    for Matcher { label, operator, value } in &selector.matchers {
        assert!(prometheus.has(&format!("{metric}{{{label}!=\"\"}}")).await, "{title}: {metric} has no label {label}");
        // One with something else is no witness for `!=`.
        let witnessed = !operator.starts_with('!');
        for value in alternatives(value) {
            if witnessed && prometheus.has(&format!("{metric}{{{label}{operator}\"{value}\"}}")).await {
                continue;
            }
            // Nothing has happened here that would show it; then the code has to know it.
            assert!(metric.starts_with("asset_eraser_"), "{title}: no {metric} with {label}{operator}\"{value}\"");
            assert!(in_the_code(&value), "{title}: {metric}: nothing in src/ says {label} \"{value}\"");
        }
    }
}

/// What a regular expression like `a.(b|c)` or `b|c` allows, one by one: each has to exist.
fn alternatives(pattern: &str) -> Vec<String> {
    let (before, inside, after) = match (pattern.split_once('('), pattern.rsplit_once(')')) {
        (Some((before, rest)), Some((_, after))) => (before, &rest[..rest.len() - after.len() - 1], after),
        _ => ("", pattern, ""),
    };
    inside.split('|').map(|one| format!("{before}{one}{after}")).collect()
}

fn in_the_code(value: &str) -> bool {
    fn look(dir: &Path, quoted: &str) -> bool {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
            let is_code = path.extension().is_some_and(|end| end == "rs")
                && !path.file_name().unwrap().to_str().unwrap().contains("test");
            if path.is_dir() {
                look(&path, quoted)
            } else {
                is_code && std::fs::read_to_string(&path).unwrap().contains(quoted)
            }
        })
    }
    look(&super::path("src"), &format!("\"{value}\""))
}
