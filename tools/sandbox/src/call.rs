//! The way of one call: log it, check its key, pass the limiter, suffer a fault, pass the gateway, take effect, answer.

use std::{
    collections::BTreeMap,
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::body::{Body as _, Frame};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    answer,
    capacity::Ticket,
    fault::{Fault, Operation, When},
    file,
    raw::Raw,
    server::Unsent,
    work::{Bent, Done, Effect, Payload},
    world::{Call, World},
};

/// Everything the handlers share.
pub struct Sandbox {
    world: Mutex<World>,
    /// Whole `Authorization` values.
    provider_key: String,
    jobs_key: Option<String>,
}

/// Which asset or job a call is about.
pub enum Subject {
    Asset(String),
    Job(String),
    Nothing,
}

/// A logged call that is to be handled.
struct Asked<W> {
    seq: u64,
    operation: Operation,
    subject: Subject,
    /// What it does when nothing goes wrong.
    work: W,
}

impl Sandbox {
    pub fn new(token: &str, jobs_token: Option<&str>) -> Self {
        let bearer = |token: &str| format!("Bearer {token}");
        Self { world: Mutex::default(), provider_key: bearer(token), jobs_key: jobs_token.map(bearer) }
    }

    /// Never held across an await. A poisoned lock is taken all the same: half a test log beats none.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles one call from arrival to answer; `work` is what it does when nothing goes wrong.
    pub async fn call(
        self: &Arc<Self>,
        operation: Operation,
        subject: Subject,
        parts: &Parts,
        work: impl FnOnce(&mut World, Bent) -> Done,
    ) -> Response {
        let (seq, latency_ms) = {
            let mut world = self.world();
            (world.arrived(|| logged(operation, &subject, parts)), world.latency_ms)
        };
        if !self.key_fits(operation, parts) {
            let refusal = json!({"code": 401, "msg": "Unauthorized", "data": null});
            return self.answered(seq, Done::refused(StatusCode::UNAUTHORIZED, refusal));
        }
        if let Ticket::Refused { retry_after_s } = self.ticket_for(operation) {
            // The way to a limiter is as long as the one to what it protects.
            pause(latency_ms).await;
            return self.too_many(seq, retry_after_s);
        }
        // Taken on arrival, not after the pause: calls suffer faults in the order in which they came.
        let fault = self.fault_for(operation, &subject);
        let asked = Asked { seq, operation, subject, work };
        pause(latency_ms).await;
        match fault {
            None => self.answered(seq, self.done(asked, None)),
            Some(fault) => self.suffered(asked, fault).await,
        }
    }

    /// Handles the rest of a call that goes wrong. A fault that says what is done overrules the gateway; one that only
    /// delays or breaks the answer leaves to the gateway what the answer is.
    async fn suffered<W>(self: &Arc<Self>, asked: Asked<W>, fault: Fault) -> Response
    where
        W: FnOnce(&mut World, Bent) -> Done,
    {
        let seq = asked.seq;
        match fault {
            Fault::DelayMs(ms) => {
                pause(ms).await;
                self.answered(seq, self.done(asked, None))
            }
            Fault::Pretend => self.answered(seq, self.done(asked, Some(Bent::Pretend))),
            Fault::Stale => self.answered(seq, self.done(asked, Some(Bent::Stale))),
            Fault::Hang { done } => {
                if done {
                    self.done(asked, Some(Bent::No));
                }
                // Ends when the client gives up or the server stops: either drops this future.
                pending().await
            }
            Fault::Send(sending) => match self.done(asked, None) {
                Done { status, body: Payload::File(content), .. } => {
                    self.note_status(seq, status);
                    unsent(Unsent::Raw(Raw { content, sending }))
                }
                done => self.answered(seq, done),
            },
            Fault::Cut(When::Before) => cut(),
            Fault::Cut(When::After) => {
                self.done(asked, Some(Bent::No));
                cut()
            }
            Fault::Cut(When::Midway) => {
                let whole = self.answered(seq, self.done(asked, None));
                self.note_unreadable(seq);
                halved(whole)
            }
            Fault::Late { ms, hang } => {
                if let Subject::Asset(asset) = asked.subject {
                    self.delete_late(seq, asset, ms);
                }
                if hang { pending().await } else { cut() }
            }
            Fault::Answer { status, headers, body, took_effect } => {
                if took_effect {
                    self.done(asked, Some(Bent::No));
                }
                self.note_status(seq, status);
                self.note_body(seq, &serde_json::from_slice(&body).unwrap_or_default());
                (status, headers, body).into_response()
            }
        }
    }

    fn key_fits(&self, operation: Operation, parts: &Parts) -> bool {
        let wanted = match operation {
            Operation::Jobs => self.jobs_key.as_deref(),
            // An unknown route is answered "no handler" to every client. The URL of a file is all that it takes to read it.
            Operation::File | Operation::Other => None,
            _ => Some(self.provider_key.as_str()),
        };
        let got = text(&parts.headers, header::AUTHORIZATION.as_str());
        wanted.is_none_or(|wanted| got == Some(wanted))
    }

    /// The limiter stands before the provider; the job registry is another service, and files come from a store.
    fn ticket_for(&self, operation: Operation) -> Ticket {
        if operation.is_of_provider() { self.world().capacity.take(Instant::now()) } else { Ticket::Admitted }
    }

    fn too_many(&self, seq: u64, retry_after_s: Option<u64>) -> Response {
        let body = json!({"code": 429, "msg": "Too Many Requests", "data": null});
        let retry_after = retry_after_s.map(HeaderValue::from);
        self.answered(seq, Done::too_many(StatusCode::TOO_MANY_REQUESTS, retry_after, body))
    }

    fn fault_for(&self, operation: Operation, subject: &Subject) -> Option<Fault> {
        let world = &mut *self.world();
        let jobs = &world.jobs;
        world.faults.take(operation, |asset| match subject {
            Subject::Asset(id) => id == asset,
            Subject::Job(id) => id == asset || jobs.get(id).is_some_and(|job| job.uses(asset)),
            Subject::Nothing => false,
        })
    }

    /// Does the work and logs its effect in one breath, so that no reader sees one without the other. The mode of the
    /// gateway says how the work is bent, unless a fault does: then the mode only words the answer.
    fn done<W>(self: &Arc<Self>, asked: Asked<W>, fault: Option<Bent>) -> Done
    where
        W: FnOnce(&mut World, Bent) -> Done,
    {
        let Asked { seq, operation, subject, work } = asked;
        let mut world = self.world();
        let mode = world.gateway.mode(&subject, &world.jobs);
        let refusal = if fault.is_none() { mode.refusal(operation) } else { None };
        let done = refusal.unwrap_or_else(|| work(&mut world, fault.unwrap_or(mode.bent(operation))));
        match (done.effect, subject) {
            (Effect::Now, _) => world.took_effect(seq),
            (Effect::Later { ms }, Subject::Asset(asset)) => self.delete_late(seq, asset, ms),
            (Effect::Nothing | Effect::Later { .. }, _) => {}
        }
        mode.worded(operation, seq, done)
    }

    /// Deletes an asset some time from now, whatever becomes of the call that asked for it.
    fn delete_late(self: &Arc<Self>, seq: u64, asset: String, ms: u64) {
        let sandbox = self.clone();
        tokio::spawn(async move {
            pause(ms).await;
            let mut world = sandbox.world();
            if world.delete_asset(&asset) {
                world.took_effect(seq);
            }
        });
    }

    /// The answer does not arrive whole.
    fn note_unreadable(&self, seq: u64) {
        if let Some(call) = self.world().call(seq) {
            (call.answered, call.listed) = (None, None);
        }
    }

    fn note_status(&self, seq: u64, status: StatusCode) {
        if let Some(call) = self.world().call(seq) {
            call.status = Some(status.as_u16());
        }
    }

    /// Logs what the body of a whole answer says.
    fn note_body(&self, seq: u64, body: &Value) {
        if let Some(call) = self.world().call(seq) {
            match call.operation {
                Operation::Jobs => call.listed = answer::listed(body),
                Operation::Detail => call.answered = answer::sight(body, call.asset.as_deref()).map(str::to_owned),
                _ => call.answered = answer::code(body),
            }
        }
    }

    fn answered(&self, seq: u64, done: Done) -> Response {
        self.note_status(seq, done.status);
        if let Payload::Json(body) = &done.body {
            self.note_body(seq, body);
        }
        let mut response = match done.body {
            Payload::Json(body) => json_response(done.status, &body),
            Payload::File(content) => file::streamed(content),
        };
        response.headers_mut().extend(done.retry_after.map(|value| (header::RETRY_AFTER, value)));
        response
    }
}

/// A JSON answer, written here because axum's `Json` is behind a feature the worker does not need.
pub fn json_response(status: StatusCode, body: &Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], body.to_string()).into_response()
}

fn logged(operation: Operation, subject: &Subject, parts: &Parts) -> Call {
    let (asset, job) = match subject {
        Subject::Asset(id) => (Some(id.clone()), None),
        Subject::Job(id) => (None, Some(id.clone())),
        Subject::Nothing => (None, None),
    };
    Call {
        seq: 0, // `World::arrived` sets this and `jobs_in_progress`.
        at_ms: Timestamp::now().as_millisecond(),
        operation,
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        asset,
        job,
        status: None,
        answered: None,
        listed: None,
        jobs_in_progress: Vec::new(),
        took_effect: false,
        effect_ms: None,
        jobs_at_effect: Vec::new(),
        traceparent: text(&parts.headers, "traceparent").map(str::to_owned),
        headers: (operation == Operation::File).then(|| shown(&parts.headers)),
    }
}

/// Values that are no text are shown as well as can be: that they came at all is what matters.
fn shown(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Not even a yield for zero, so that a sandbox without latency adds none.
async fn pause(ms: u64) {
    if ms > 0 {
        sleep(Duration::from_millis(ms)).await;
    }
}

fn cut() -> Response {
    unsent(Unsent::Cut)
}

fn unsent(instead: Unsent) -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(instead);
    response
}

/// The same answer, promised whole by its `content-length`, with a body that breaks off in the middle.
fn halved(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(whole) = body.size_hint().exact() {
        parts.headers.insert(header::CONTENT_LENGTH, whole.into());
    }
    Response::from_parts(parts, Body::new(Half { whole: body, next: Step::Send }))
}

/// The first half of a body, then an error, which makes hyper close the connection.
struct Half {
    whole: Body,
    next: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Send,
    /// One round of waiting: hyper writes out what it has only when the body has nothing for it.
    Flush,
    Break,
}

impl hyper::body::Body for Half {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.next {
            Step::Send => {
                // The whole body is one frame: it was made from a string.
                let frame = ready!(Pin::new(&mut self.whole).poll_frame(context));
                self.next = Step::Flush;
                let halve = |mut bytes: Bytes| bytes.split_to(bytes.len() / 2);
                Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(halve))))
            }
            Step::Flush => {
                self.next = Step::Break;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Step::Break => {
                let reason = std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
                Poll::Ready(Some(Err(axum::Error::new(reason))))
            }
        }
    }
}
