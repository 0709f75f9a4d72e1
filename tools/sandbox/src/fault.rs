//! Faults: what the operator of the sandbox may ask to go wrong, and for which call.

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::raw::Sending;

/// What a call asks for, as the log and the faults name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Delete,
    Detail,
    File,
    Job,
    Jobs,
    Upload,
    Video,
    Other,
}

impl Operation {
    /// Whether the provider itself answers it, and so what stands before the provider.
    pub fn is_of_provider(self) -> bool {
        matches!(self, Self::Delete | Self::Detail | Self::Job | Self::Upload | Self::Video)
    }
}

/// Body of `POST /control/faults`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    operation: Operation,
    /// Absent: any asset. For `job` calls: the job's ID, or an asset that the job uses.
    asset: Option<String>,
    /// Absent: for ever.
    times: Option<u32>,
    #[serde(rename = "do")]
    deed: Deed,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Deed {
    Answer(Answer),
    Hang(Hang),
    Cut(When),
    Pretend(bool),
    Stale(bool),
    DelayMs(u64),
    Send(Sending),
    Late(Late),
}

/// A `DELETE` that is carried out late, while its caller hears nothing of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Late {
    ms: u64,
    /// The connection stays open without an answer; else it is cut at once.
    #[serde(default)]
    hang: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    status: u16,
    #[serde(default)]
    headers: HashMap<String, String>,
    /// A string is sent as it stands (unreadable bodies), anything else as JSON; absent or `null` is an empty body.
    body: Option<Value>,
    /// Whether the call does its work all the same: "500, but it was deleted".
    #[serde(default)]
    took_effect: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Hang {
    Plain(bool),
    At(When),
}

/// Where in a call it breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Nothing was done.
    Before,
    /// It was done, and not a byte was answered.
    After,
    /// It was done, and half of the answer's body was sent. For `cut` only.
    Midway,
}

/// A checked fault, ready to happen.
#[derive(Clone, Debug)]
pub enum Fault {
    Answer { status: StatusCode, headers: HeaderMap, body: Vec<u8>, took_effect: bool },
    Hang { done: bool },
    Cut(When),
    Pretend,
    Stale,
    DelayMs(u64),
    Send(Sending),
    Late { ms: u64, hang: bool },
}

struct Planned {
    operation: Operation,
    asset: Option<String>,
    left: Option<u32>,
    fault: Fault,
}

/// The faults that are still to come, oldest first.
#[derive(Default)]
pub struct Faults {
    planned: Vec<Planned>,
    last_id: u64,
}

impl Faults {
    /// Adds a fault and returns its number, or says why it can never happen.
    pub fn add(&mut self, order: Order) -> Result<u64, String> {
        if order.times == Some(0) {
            return Err("times must be at least 1; leave it out for ever".into());
        }
        let fault = checked(order.operation, order.deed)?;
        self.planned.push(Planned { operation: order.operation, asset: order.asset, left: order.times, fault });
        self.last_id += 1;
        Ok(self.last_id)
    }

    pub fn clear(&mut self) {
        self.planned.clear();
    }

    /// The oldest fault for this call, used up by one. One call suffers one fault: two with `times: 1` happen in turn.
    pub fn take(&mut self, operation: Operation, concerns: impl Fn(&str) -> bool) -> Option<Fault> {
        let hit = self
            .planned
            .iter()
            .position(|planned| planned.operation == operation && planned.asset.as_deref().is_none_or(&concerns))?;
        let planned = &mut self.planned[hit];
        let fault = planned.fault.clone();
        if let Some(left) = &mut planned.left {
            *left -= 1;
            if *left == 0 {
                self.planned.remove(hit);
            }
        }
        Some(fault)
    }
}

fn checked(operation: Operation, deed: Deed) -> Result<Fault, String> {
    match deed {
        Deed::Answer(answer) => checked_answer(answer),
        Deed::Hang(Hang::Plain(true) | Hang::At(When::Before)) => Ok(Fault::Hang { done: false }),
        Deed::Hang(Hang::At(When::After)) => Ok(Fault::Hang { done: true }),
        Deed::Hang(_) => Err(r#"hang must be true, "before" or "after""#.into()),
        Deed::Cut(When::Midway) if operation == Operation::File => {
            Err("a file is cut midway with send: say how many bytes come".into())
        }
        Deed::Cut(when) => Ok(Fault::Cut(when)),
        Deed::Pretend(true) if operation == Operation::Delete => Ok(Fault::Pretend),
        Deed::Pretend(_) => Err("pretend must be true and is for delete only".into()),
        Deed::Stale(true) if operation == Operation::Detail => Ok(Fault::Stale),
        Deed::Stale(_) => Err("stale must be true and is for detail only".into()),
        Deed::DelayMs(ms) => Ok(Fault::DelayMs(ms)),
        Deed::Send(sending) if operation == Operation::File => sending.checked().map(Fault::Send),
        Deed::Send(_) => Err("send is for file only".into()),
        Deed::Late(Late { ms, hang }) if operation == Operation::Delete => Ok(Fault::Late { ms, hang }),
        Deed::Late(_) => Err("late is for delete only".into()),
    }
}

fn checked_answer(answer: Answer) -> Result<Fault, String> {
    let status = StatusCode::from_u16(answer.status)
        .ok()
        .filter(|status| !status.is_informational())
        .ok_or("status must be 200 to 999")?;
    let mut headers = HeaderMap::new();
    if !matches!(answer.body, None | Some(Value::String(_))) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &answer.headers {
        let key = HeaderName::try_from(name).map_err(|_| format!("{name:?} is no header name"))?;
        // hyper writes these, and panics in debug builds when they contradict the body.
        if key == header::CONTENT_LENGTH || key == header::TRANSFER_ENCODING {
            return Err(format!("header {name} is the server's own; use cut \"midway\" for a short body"));
        }
        let value = HeaderValue::try_from(value).map_err(|_| format!("the value of header {name} cannot be sent"))?;
        headers.insert(key, value);
    }
    let body = match answer.body {
        None => Vec::new(),
        Some(Value::String(text)) => text.into_bytes(),
        Some(json) => json.to_string().into_bytes(),
    };
    Ok(Fault::Answer { status, headers, body, took_effect: answer.took_effect })
}
