//! Promise 4 for cases: a case that says its size ends in one event, which counts all of its requests.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, Found, History, text, violation};

impl History {
    pub(super) fn cases(&self, found: &mut Found) {
        for (case, size) in self.sizes() {
            let mut broken = |what: String| found.push(violation(4, what, case, ""));
            let own: Vec<&Event> = self.events.iter().filter(|event| ends(event, case)).collect();
            let Some(first) = own.first() else {
                broken(format!("case {case} of {size} requests has no end"));
                continue;
            };
            let contents: BTreeSet<&str> = own.iter().map(|event| event.text.as_str()).collect();
            if contents.len() > 1 {
                broken(format!("case {case} has {} different ends", contents.len()));
            }
            let counted: u64 = first.body["data"]["outcomes"]
                .as_object()
                .map_or(0, |outcomes| outcomes.values().filter_map(serde_json::Value::as_u64).sum());
            if counted != size {
                broken(format!("case {case} of {size} requests ends with {counted} counted"));
            }
        }
    }

    /// The size of each case that says one.
    fn sizes(&self) -> BTreeMap<&str, u64> {
        let size = |body: &'_ serde_json::Value| body["case_size"].as_u64();
        self.asks.iter().filter_map(|ask| Some((text(&ask.body["case_id"]), size(&ask.body)?))).collect()
    }
}

fn ends(event: &Event, case: &str) -> bool {
    event.body["type"] == "asset.deletion.case_completed.v1" && event.body["data"]["case_id"] == case
}
