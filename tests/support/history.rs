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
    /// The entries that announce a `DELETE`. The first entry of an attempt announces none: it is the attempt's beginning,
    /// also where it says `deleting` because an earlier attempt was interrupted.
    fn announced(&self) -> Vec<&Value> {
        let begins = |number: usize| number == 0 || self.0[number - 1]["attempts"] != self.0[number]["attempts"];
        let announces = |(number, change): &(usize, &Value)| change["state"] == "deleting" && !begins(*number);
        self.0.iter().enumerate().filter(announces).map(|(_, change)| change).collect()
    }

    /// How many `DELETE` calls were sent, as far as the ledger knows.
    pub fn deletes(&self) -> usize {
        self.announced().len() - self.0.iter().filter(|change| change["state"] == "not_sent").count()
    }

    /// The `DELETE` calls that the entry before does not announce: it is of another kind, or of a later attempt.
    pub fn unannounced<'a>(&self, calls: &'a [Value]) -> Vec<&'a Value> {
        let announced = self.announced();
        let last = |at_ms: i64| self.0.iter().take_while(|change| at(change) <= at_ms).last();
        let sent = calls.iter().filter(|call| call["operation"] == "delete");
        sent.filter(|call| !last(call["at_ms"].as_i64().unwrap()).is_some_and(|change| announced.contains(&change)))
            .collect()
    }

    /// When the request was decided, in milliseconds since 1970.
    pub fn decided_ms(&self) -> i64 {
        let decided = self.0.iter().find(|change| change["state"] == "decided");
        at(decided.expect("the request is decided"))
    }
}

/// When a change was recorded, in milliseconds since 1970.
fn at(change: &Value) -> i64 {
    change["at"].as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond()
}
