//! How things are: what waits, what runs, what was decided, and what holds it up.

use std::time::Duration;

use askama::Template;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;

use super::chart::{Chart, HEIGHT, WIDTH};
use super::glance::Glance;
use super::{Here, age, page as shown, second};
use crate::contract::reasons::Stop;
use crate::neighbours::ledger::{Entry, OpenRequests};
use crate::operator::http::Readiness;
use crate::settings::brief;

#[derive(Template)]
#[template(path = "operator/http/console/overview.html")]
struct OverviewPage<'a> {
    at: String,
    version: &'static str,
    broker: &'static str,
    broker_why: Option<String>,
    dry_run: bool,
    ready: bool,
    stopped: Vec<(&'static str, String)>,
    /// `closed` or why it is open, for the provider and for the guard.
    circuits: [(&'static str, bool); 2],
    pace: Vec<(&'static str, String)>,
    brake: Option<BrakeView>,
    exchange: &'a str,
    /// Named without the exchange before it.
    queues: Result<Vec<(&'a str, u32)>, String>,
    chart: Option<Chart>,
    cut: bool,
    ledger_problem: Option<String>,
    /// Under which title, and whether they wait for something.
    open: [(&'static str, bool, Requests); 2],
}

struct BrakeView {
    holds: bool,
    text: String,
}

#[derive(Default)]
struct Requests {
    count: u64,
    lines: Vec<OverviewRow>,
}

struct OverviewRow {
    request: String,
    asset: String,
    state: &'static str,
    waits_for: String,
    since: String,
    attempts: u32,
}

pub(super) async fn page(Shared(here): Shared<Here>) -> Response {
    let glance = here.glance().await;
    shown(StatusCode::OK, &OverviewPage::new(&here, &glance))
}

impl<'a> OverviewPage<'a> {
    fn new(here: &'a Here, glance: &'a Glance) -> Self {
        let (state, now) = (&here.state, glance.at);
        let Readiness { ready, broker, broker_why, dry_run, stopped } = Readiness::of(state);
        let ledger = glance.ledger.as_ref();
        let (queues, exchange) = (glance.queues.as_ref(), here.console.0.broker.prefix.as_str());
        let short = |queue: &'a str| queue.strip_prefix(exchange).unwrap_or(queue).trim_start_matches('.');
        let open = |open: Option<&OpenRequests>| open.map(|open| Requests::new(open, now)).unwrap_or_default();
        Self {
            at: second(now),
            version: env!("CARGO_PKG_VERSION"),
            broker,
            broker_why,
            dry_run,
            ready,
            stopped: stopped.into_iter().map(|stopped| (stopped.cause, stopped.why)).collect(),
            circuits: [("provider", Stop::ProviderDown), ("guard", Stop::GuardDown)]
                .map(|(name, stop)| (name, state.line.holds(stop))),
            pace: pace(here),
            brake: brake(here, glance),
            exchange,
            queues: queues
                .map(|queues| queues.iter().map(|depth| (short(&depth.queue), depth.ready)).collect())
                .map_err(ToString::to_string),
            chart: ledger.ok().map(|overview| Chart::new(&overview.decided, now)),
            cut: ledger.is_ok_and(|overview| overview.cut),
            ledger_problem: ledger.err().map(ToString::to_string),
            open: [
                ("Running", false, open(ledger.ok().map(|overview| &overview.begun))),
                ("Waiting", true, open(ledger.ok().map(|overview| &overview.waiting))),
            ],
        }
    }
}

fn pace(here: &Here) -> Vec<(&'static str, String)> {
    let gate = &here.console.0.gate;
    let (busy, limit) = (gate.permits().busy(), *gate.permits().limit().borrow());
    let rate = gate.rate_now().map_or_else(|| "not limited".to_owned(), |rate| format!("{rate:.1}"));
    let mut pace = vec![("at once", format!("{busy} of {limit}")), ("calls a second", rate)];
    let pause = gate.paused_for();
    if !pause.is_zero() {
        pace.push(("the provider asks to wait", brief(Duration::from_secs(pause.as_secs() + 1))));
    }
    pace
}

fn brake(here: &Here, glance: &Glance) -> Option<BrakeView> {
    let (brake, braking) = (here.console.0.brake.as_ref()?, glance.braking.as_ref()?);
    Some(match braking {
        Ok(braking) => {
            let (most, window) = (brake.max_deletions, brief(brake.window));
            let text = format!("{} of {most} deletions have begun within {window}", braking.deletions);
            BrakeView { holds: braking.holds(brake), text }
        }
        Err(error) => BrakeView { holds: false, text: error.to_string() },
    })
}

impl Requests {
    fn new(open: &OpenRequests, now: Timestamp) -> Self {
        let lines = open.oldest.iter().map(|entry| OverviewRow::new(entry, now));
        Self { count: open.count, lines: lines.collect() }
    }

    /// Whether there are more than are shown.
    fn cut(&self) -> bool {
        self.count > self.lines.len() as u64
    }
}

impl OverviewRow {
    fn new(entry: &Entry, now: Timestamp) -> Self {
        Self {
            request: entry.request_id.to_string(),
            asset: entry.asset_id.clone().unwrap_or_default(),
            state: entry.state,
            waits_for: entry.waited_for.clone().unwrap_or_default(),
            since: age(entry.first_seen, now),
            attempts: entry.attempts,
        }
    }
}
