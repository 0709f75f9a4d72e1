//! What an on-call person gets: the alerts fire when they should, each has its section in the runbook, and everything
//! that alerts and dashboard ask for is there to be asked.

mod dashboard;
mod names;
mod selectors;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::prometheus::promtool;

pub(crate) const ALERTS: &str = "deploy/prometheus/alerts.yml";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}")).iter()
}

fn alerts() -> Vec<Value> {
    list(&yaml(ALERTS)["groups"]).flat_map(|group| list(&group["rules"]).cloned().collect::<Vec<_>>()).collect()
}

fn name(alert: &Value) -> &str {
    alert["alert"].as_str().expect("a rule is an alert")
}

#[test]
fn each_alert_fires_when_it_should_and_not_when_it_should_not() {
    promtool(&["test", "rules", path("deploy/prometheus/alerts.test.yml").to_str().unwrap()]);
    // promtool has seen that what the file expects is so; here, that it expects both of each alert.
    let tests = yaml("deploy/prometheus/alerts.test.yml");
    let mut seen = BTreeSet::new();
    for test in list(&tests["tests"]) {
        for case in test["promql_expr_test"].as_array().into_iter().flatten() {
            let expr = case["expr"].as_str().unwrap();
            let alert = expr.strip_prefix("ALERTS{alertname=\"").unwrap().split('"').next().unwrap();
            seen.insert((alert.to_owned(), list(&case["exp_samples"]).next().is_some()));
        }
    }
    for alert in alerts() {
        for fires in [true, false] {
            assert!(seen.contains(&(name(&alert).to_owned(), fires)), "no test: {} fires: {fires}", name(&alert));
        }
    }
    assert_eq!(seen.len(), 2 * alerts().len(), "tests of alerts that are not there: {seen:?}");
}

#[test]
fn each_alert_says_what_it_means_and_leads_to_its_section_of_the_runbook() {
    let runbook = text("docs/runbook.md");
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## AssetEraser")).collect();
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let short = name(&alert).strip_prefix("AssetEraser").unwrap_or_else(|| panic!("{}", name(&alert))).to_owned();
        let severity = alert["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning")), "{short}: {severity:?}");
        for annotation in ["summary", "description"] {
            assert!(
                alert["annotations"][annotation].as_str().is_some_and(|text| text.len() > 10),
                "{short}: {annotation}"
            );
        }
        let url = format!("docs/runbook.md#{}", name(&alert).to_lowercase());
        assert_eq!(alert["annotations"]["runbook_url"], url.as_str());
        assert!(names.insert(short.clone()), "{short} is there twice");
    }
    assert_eq!(names.iter().map(String::as_str).collect::<BTreeSet<_>>(), sections);
    for section in runbook.split("\n## AssetEraser").skip(1) {
        let title = section.lines().next().unwrap();
        for part in ["**Means.**", "**Look.**", "**Do.**", "**Over when**"] {
            assert!(section.contains(part), "docs/runbook.md, {title}: {part}");
        }
    }
}

#[test]
fn the_configuration_is_one_that_prometheus_takes() {
    promtool(&["check", "config", path("deploy/prometheus/prometheus.yml").to_str().unwrap()]);
}
