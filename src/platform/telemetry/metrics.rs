//! Every metric of the worker, declared in this one file.
//!
//! Labels come from small fixed sets, never from a message or from a provider: one time series per asset would grow
//! without limit and would put asset IDs where they do not belong.

mod backups;
mod connections;
mod proofs;

use std::{sync::Arc, time::Duration};

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

use crate::contract::message::notice::NoticeKind;
use crate::contract::reasons::{Buried, PolicyLimit, PutOff, Stop};

const NAMESPACE: &str = "asset_eraser";

/// First seen to decided. From one quick answer (10 ms) to the default `retry.max_age` (24 h), since a request may
/// wait that long for a job to end; about three buckets per factor of ten where most requests are.
const DECIDED_AFTER_SECONDS: &[f64] = &[
    0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 10_800.0, 21_600.0,
    43_200.0, 86_400.0,
];

/// One provider call. 30 s is the default `provider.timeout`; 60 s catches a longer one.
const PROVIDER_CALL_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

/// One ledger commit, dominated by one fsync: under a millisecond on a good disk, seconds on a sick one.
const LEDGER_COMMIT_SECONDS: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Every outcome with every cause it is published with, so that each series exists, as 0, before its first event:
/// `increase()` of a series that appears at 1 is 0, and the first failure would be missed by every alert.
const RESULTS: &[(&str, &[&str])] = &[
    ("deleted", &[NO_CAUSE]),
    ("already_absent", &[NO_CAUSE]),
    ("would_delete", &[NO_CAUSE]),
    (
        "rejected",
        &["invalid_request", "request_conflict", "asset_mismatch", "in_use", "protected", "publisher_not_allowed"],
    ),
    (
        "failed",
        &["in_use", "deadline_passed", "provider_refused", "still_present", "attempts_exhausted", "backup_failed"],
    ),
];

/// The `cause` label of an outcome that needs none.
const NO_CAUSE: &str = "none";
/// What a label value that is not of its set is counted as: visible, but never a new time series.
const OTHER: &str = "other";

/// Why the metrics could not be declared or written out.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// The worker's metrics, in a registry of their own. Cloning is cheap; clones count into the same registry.
#[derive(Clone)]
pub struct Metrics(Arc<MetricFamilies>);

struct MetricFamilies {
    registry: Registry,
    requests_received: IntCounter,
    results: IntCounterVec,
    notices: IntCounterVec,
    put_off: IntCounterVec,
    /// The reasons seen so far: `put_off` takes any text, so the number of series is limited here.
    provider_calls: IntCounterVec,
    provider_call_seconds: HistogramVec,
    guard_checks: IntCounterVec,
    decided_after_seconds: Histogram,
    in_flight: IntGauge,
    tasks: IntGauge,
    broker_connected: IntGauge,
    consumer_last_worked: Gauge,
    ledger_commit_seconds: Histogram,
    ledger_changes: IntCounter,
    dead_letters: IntCounterVec,
    unsettled_drops: IntCounter,
    replies_unroutable: IntCounter,
    results_refused: IntCounter,
    panics: IntCounter,
    line_stopped: IntGaugeVec,
    policy_limits: IntGaugeVec,
    circuit_opened: IntCounterVec,
    proofs: proofs::ProofMetrics,
    backups: backups::BackupMetrics,
    connections: connections::ConnectionMetrics,
    concurrency_limit: IntGauge,
    rate_limit: Gauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Declares every metric in a new registry, along with `process_*` (memory, CPU, file descriptors, start time).
    ///
    /// # Errors
    /// When two metrics have the same name: a mistake in this file.
    pub fn new() -> Result<Self, MetricsError> {
        let declare = Declare(Registry::new());
        let inner = MetricFamilies {
            requests_received: declare
                .counter("requests_received_total", "Deliveries taken from the request queue.")?,
            results: declare.counters(
                "results_total",
                "Requests decided, by outcome and cause.",
                &["outcome", "cause"],
            )?,
            notices: declare.counters(
                "events_total",
                "Events published that are no results, by what they tell.",
                &["event"],
            )?,
            put_off: declare.counters(
                "put_off_total",
                "Requests put into a wait queue, by reason: what the request waits for, or the cause that stops the line.",
                &["reason"],
            )?,
            provider_calls: declare.counters(
                "provider_calls_total",
                "Calls to the provider, each attempt counted.",
                &["operation", "result"],
            )?,
            provider_call_seconds: declare.histograms(
                "provider_call_seconds",
                "Time one call to the provider took.",
                PROVIDER_CALL_SECONDS,
                &["operation"],
            )?,
            guard_checks: declare.counters(
                "guard_checks_total",
                "Answers to: is the asset in use?",
                &["source", "answer"],
            )?,
            decided_after_seconds: declare.histogram(
                "decided_after_seconds",
                "Time from first seeing a request to deciding it.",
                DECIDED_AFTER_SECONDS,
            )?,
            in_flight: declare.gauge("in_flight", "Requests being worked on now.")?,
            tasks: declare.gauge("tasks", "Asynchronous tasks that are alive; steady while nothing leaks.")?,
            broker_connected: declare
                .gauge("broker_connected", "1 while there is a working connection to RabbitMQ.")?,
            consumer_last_worked: declare.float_gauge(
                "consumer_last_worked_timestamp_seconds",
                "Unix time at which consuming last worked; 0 = never yet.",
            )?,
            ledger_commit_seconds: declare.histogram(
                "ledger_commit_seconds",
                "Time one durable commit to the ledger took.",
                LEDGER_COMMIT_SECONDS,
            )?,
            ledger_changes: declare
                .counter("ledger_changes_total", "Changes made durable in the ledger; several share a commit.")?,
            dead_letters: declare.counters(
                "dead_letters_total",
                "Messages buried in the dead queue, by why.",
                &["why"],
            )?,
            unsettled_drops: declare.counter(
                "unsettled_drops_total",
                "Deliveries dropped without being settled; the broker redelivers them.",
            )?,
            replies_unroutable: declare
                .counter("replies_unroutable_total", "Results whose reply_to queue did not exist.")?,
            results_refused: declare.counter(
                "results_refused_total",
                "Results that a queue of a reader's did not take, being full for instance; they are lost for it.",
            )?,
            panics: declare.counter("panics_total", "Panics caught while working on a request.")?,
            policy_limits: declare.gauges(
                "policy_limits",
                "1 while a policy of the broker limits the worker's queues so.",
                &["limit"],
            )?,
            line_stopped: declare.gauges(
                "line_stopped",
                "1 while the worker does not consume for this cause.",
                &["cause"],
            )?,
            circuit_opened: declare.counters(
                "circuit_opened_total",
                "Times that consuming was stopped because the calls of all requests failed, by the service that was called.",
                &["circuit"],
            )?,
            proofs: proofs::ProofMetrics::declare(&declare)?,
            backups: backups::BackupMetrics::declare(&declare)?,
            connections: connections::ConnectionMetrics::declare(&declare)?,
            concurrency_limit: declare.gauge("concurrency_limit", "Requests that may be worked on at once.")?,
            rate_limit: declare.float_gauge(
                "rate_limit",
                "Calls a second that the provider seems to allow; 0 while it has rejected none.",
            )?,
            registry: declare.0.clone(),
        };
        inner.declare_build_and_process(&declare)?;
        inner.start_at_zero();
        Ok(Self(Arc::new(inner)))
    }

    /// A delivery came from the request queue.
    pub fn request_received(&self) {
        self.0.requests_received.inc();
    }

    /// A request was decided. `cause` is empty for an outcome that has none; anything outside the contract is counted
    /// as `other`.
    pub fn result(&self, outcome: &str, cause: &str) {
        let cause = if cause.is_empty() { NO_CAUSE } else { cause };
        let outcome = known(outcome, RESULTS.iter().map(|(outcome, _)| *outcome));
        let cause = known(cause, RESULTS.iter().flat_map(|(_, causes)| causes.iter().copied()));
        self.0.results.with_label_values(&[outcome, cause]).inc();
    }

    /// An event that is no result was published.
    pub fn notice(&self, kind: NoticeKind) {
        self.0.notices.with_label_values(&[kind.as_str()]).inc();
    }

    /// A request went into a wait queue.
    pub fn put_off(&self, reason: PutOff) {
        self.0.put_off.with_label_values(&[reason.as_str()]).inc();
    }

    /// One call to the provider ended, one attempt of it.
    pub fn provider_call(&self, operation: &'static str, result: &'static str, took: Duration) {
        self.0.provider_calls.with_label_values(&[operation, result]).inc();
        self.0.provider_call_seconds.with_label_values(&[operation]).observe(took.as_secs_f64());
    }

    /// A guard source answered, or did not.
    pub fn guard_check(&self, source: &'static str, answer: &'static str) {
        self.0.guard_checks.with_label_values(&[source, answer]).inc();
    }

    /// A request was decided this long after it was first seen.
    pub fn decided_after(&self, waited: Duration) {
        self.0.decided_after_seconds.observe(waited.as_secs_f64());
    }

    /// Work on a request began. Pair with [`Metrics::in_flight_dec`], also on early return.
    pub fn in_flight_inc(&self) {
        self.0.in_flight.inc();
    }

    /// Work on a request ended.
    pub fn in_flight_dec(&self) {
        self.0.in_flight.dec();
    }

    /// Whether there is a working connection to the broker.
    pub fn broker_connected(&self, connected: bool) {
        self.0.broker_connected.set(i64::from(connected));
    }

    /// A delivery came just now. An alert on the age of this time, while messages wait, finds the worker that looks alive
    /// and consumes nothing.
    pub fn consumer_worked(&self) {
        self.0.consumer_last_worked.set(jiff::Timestamp::now().as_duration().as_secs_f64());
    }

    /// A commit to the ledger made this many changes durable.
    pub fn ledger_commit(&self, changes: usize, took: Duration) {
        self.0.ledger_changes.inc_by(u64::try_from(changes).unwrap_or(u64::MAX));
        self.0.ledger_commit_seconds.observe(took.as_secs_f64());
    }

    /// A message was buried in the dead queue.
    pub fn dead_letter(&self, why: Buried) {
        self.0.dead_letters.with_label_values(&[why.as_str()]).inc();
    }

    /// A delivery was dropped without being settled.
    pub fn unsettled_drop(&self) {
        self.0.unsettled_drops.inc();
    }

    /// A result could not be routed to the `reply_to` of its request.
    pub fn reply_unroutable(&self) {
        self.0.replies_unroutable.inc();
    }

    /// A reader's queue did not take a result.
    pub fn result_refused(&self) {
        self.0.results_refused.inc();
    }

    /// A panic was caught while working on a request.
    pub fn panicked(&self) {
        self.0.panics.inc();
    }

    /// Whether a policy of the broker limits the worker's queues so.
    pub fn policy_limits(&self, limit: PolicyLimit, limits: bool) {
        self.0.policy_limits.with_label_values(&[limit.as_str()]).set(i64::from(limits));
    }

    /// Whether the worker has stopped consuming for this cause.
    pub fn line_stopped(&self, cause: Stop, stopped: bool) {
        self.0.line_stopped.with_label_values(&[cause.as_str()]).set(i64::from(stopped));
    }

    /// A circuit was opened.
    pub fn circuit_opened(&self, circuit: &'static str) {
        self.0.circuit_opened.with_label_values(&[circuit]).inc();
    }

    /// So many requests may be worked on at once now.
    pub fn concurrency_limit(&self, at_once: usize) {
        self.0.concurrency_limit.set(i64::try_from(at_once).unwrap_or(i64::MAX));
    }

    /// So many calls a second seem to be allowed now; 0 = no limit is known.
    pub fn rate_limit(&self, rate: f64) {
        self.0.rate_limit.set(rate);
    }

    /// Everything, in the Prometheus text format ([`prometheus::TEXT_FORMAT`]).
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(&self) -> Result<String, MetricsError> {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.0.tasks.set(i64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        TextEncoder::new().encode_utf8(&self.0.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl MetricFamilies {
    fn declare_build_and_process(&self, declare: &Declare) -> Result<(), MetricsError> {
        let build = declare.gauges("build_info", "Always 1; the label says which version runs.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        // The collector reads /proc and exists on Linux only.
        #[cfg(target_os = "linux")]
        self.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(())
    }

    fn start_at_zero(&self) {
        for (outcome, causes) in RESULTS {
            for cause in *causes {
                self.results.with_label_values(&[*outcome, *cause]);
            }
        }
        for kind in [NoticeKind::Started, NoticeKind::CaseCompleted] {
            self.notices.with_label_values(&[kind.as_str()]);
        }
        for reason in PutOff::all() {
            self.put_off.with_label_values(&[reason.as_str()]);
        }
        for why in Buried::ALL {
            self.dead_letters.with_label_values(&[why.as_str()]);
        }
        for stop in [Stop::ProviderDown, Stop::GuardDown] {
            self.circuit_opened.with_label_values(&[stop.as_str()]);
        }
        for stop in Stop::ALL {
            self.line_stopped.with_label_values(&[stop.as_str()]);
        }
        for limit in PolicyLimit::ALL {
            self.policy_limits.with_label_values(&[limit.as_str()]);
        }
    }
}

/// `value` when it is one of `set`, else [`OTHER`].
fn known(value: &str, mut set: impl Iterator<Item = &'static str>) -> &'static str {
    set.find(|known| *known == value).unwrap_or(OTHER)
}

/// Makes a metric and registers it, in one step, so that none can be forgotten.
struct Declare(Registry);

impl Declare {
    fn register<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, MetricsError> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        self.register(IntCounter::with_opts(opts(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricsError> {
        self.register(IntCounterVec::new(opts(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.register(IntGauge::with_opts(opts(name, help))?)
    }

    fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricsError> {
        self.register(Gauge::with_opts(opts(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricsError> {
        self.register(IntGaugeVec::new(opts(name, help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, MetricsError> {
        self.register(Histogram::with_opts(HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec()))?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, MetricsError> {
        self.register(HistogramVec::new(HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec()), labels)?)
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

#[cfg(test)]
mod tests;
