//! The evidence in the ledger, as `asset-eraser ledger show --json` prints it, beside the calls that the sandbox saw.

use jiff::Timestamp;
use serde_json::Value;

use super::World;

/// The changes of one request, the oldest first.
pub struct History(pub Vec<Value>);

impl World {
    pub async fn history(&mut self, request: &str) -> History {
        let mut show = self.command_with(&["ledger", "show", "--json", request]);
        assert!(show.ended().await.success(), "{}", show.output());
        let shown: Value = serde_json::from_str(&show.stdout()).unwrap();
        History(shown["requests"][0]["history"].as_array().unwrap().clone())
    }
}

impl History {
    fn count(&self, state: &str) -> usize {
        self.0.iter().filter(|change| change["state"] == state).count()
    }

    /// How many `DELETE` calls were sent, as far as the ledger knows.
    pub fn deletes(&self) -> usize {
        self.count("deleting") - self.count("not_sent")
    }

    /// When an attempt began, in milliseconds since 1970: its first entry says so, whatever state that leads to.
    pub fn began_ms(&self, attempt: u32) -> i64 {
        let first = self.0.iter().find(|change| change["attempts"] == attempt);
        let first = first.unwrap_or_else(|| panic!("attempt {attempt} began: {:?}", self.0));
        first["at"].as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond()
    }
}

/// How many `DELETE` calls arrived at or after one moment and before another, in milliseconds since 1970.
pub fn deletes_between(calls: &[Value], from_ms: i64, to_ms: i64) -> usize {
    let inside = |call: &&Value| (from_ms..to_ms).contains(&call["at_ms"].as_i64().unwrap());
    calls.iter().filter(|call| call["operation"] == "delete").filter(inside).count()
}
