//! The dashboard's file, as far as it can be checked without a Grafana: it is complete, and nothing overlaps.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{list, text};

const FILE: &str = "deploy/grafana/asset-eraser.json";

pub(super) fn dashboard() -> Value {
    serde_json::from_str(&text(FILE)).unwrap_or_else(|error| panic!("{FILE}: {error}"))
}

/// Every panel that shows something.
fn panels(dashboard: &Value) -> Vec<&Value> {
    list(&dashboard["panels"]).filter(|panel| panel["type"] != "row").collect()
}

/// Every query, and every variable's, with the title of the panel that asks it.
pub(super) fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let of_panels = panels(dashboard).into_iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap().to_owned();
        list(&panel["targets"]).map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    });
    of_panels.collect()
}

fn area(panel: &Value) -> [u64; 4] {
    ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap_or_else(|| panic!("gridPos of {panel}")))
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    let dashboard = dashboard();
    let mut titles = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().filter(|title| !title.is_empty()).expect("a title");
        assert!(titles.insert(title), "{title} is there twice");
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 20), "{title}: description");
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|unit| !unit.is_empty()),
            "{title}: unit"
        );
        let steps = &panel["fieldConfig"]["defaults"]["thresholds"]["steps"];
        assert!(
            list(steps).next().is_some_and(|step| step["value"].is_null()),
            "{title}: the first threshold is the base"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let mut references = BTreeSet::new();
        for target in list(&panel["targets"]) {
            assert!(target["expr"].as_str().is_some_and(|expr| !expr.is_empty()), "{title}: expr");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(references.insert(target["refId"].as_str().unwrap()), "{title}: refId");
        }
        assert!(!references.is_empty(), "{title}: no query");
    }
    assert!(titles.len() > 30, "{titles:?}");
}

#[test]
fn the_dashboard_can_be_loaded_and_nothing_overlaps() {
    let dashboard = dashboard();
    assert!(dashboard["id"].is_null(), "an ID belongs to one Grafana");
    assert_eq!((&dashboard["uid"], &dashboard["title"]), (&"asset-eraser".into(), &"asset-eraser".into()));
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39));
    let variables: Vec<_> = list(&dashboard["templating"]["list"]).map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "job", "instance", "prefix", "vhost"]);

    let all: Vec<&Value> = list(&dashboard["panels"]).collect();
    let ids: BTreeSet<u64> = all.iter().map(|panel| panel["id"].as_u64().expect("an ID")).collect();
    assert_eq!(ids.len(), all.len(), "IDs are unique");
    for (number, panel) in all.iter().enumerate() {
        let [x, y, w, h] = area(panel);
        assert!(w > 0 && h > 0 && x + w <= 24, "{} is not on the grid", panel["title"]);
        for other in &all[number + 1..] {
            let [x2, y2, w2, h2] = area(other);
            let apart = x + w <= x2 || x2 + w2 <= x || y + h <= y2 || y2 + h2 <= y;
            assert!(apart, "{} overlaps {}", panel["title"], other["title"]);
        }
    }
}
