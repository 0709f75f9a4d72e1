//! One delivery, from the message to its settlement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::publishers::Publishers;
use super::results::{Results, not_published};
use super::waits::Waits;
use crate::contract::message::{Cause, Notice, Request, ResultEvent, TraceContext};
use crate::contract::reasons::{PutOff, Stop};
use crate::engine::eraser::{Announce, Delivered, Eraser, Publication, Verdict};
use crate::neighbours::broker::BrokerError;
use crate::neighbours::broker::publisher::{DIRECT_REPLY, Routed, event_properties, result_properties};
use crate::neighbours::broker::received::Message;
use crate::neighbours::broker::session::Session;
use crate::neighbours::broker::settlement::{Copied, Delivery, Return};
use crate::neighbours::broker::topology::{Names, REQUEST};
use crate::neighbours::ledger::LedgerError;
use crate::neighbours::pace::intake::Intake;
use crate::platform::panics::caught;
use crate::platform::retry::Budget;
use crate::platform::telemetry::metrics::Metrics;
use crate::platform::telemetry::traces::{self, Span};
use crate::settings::Settings;

/// How long a decision may take to hand itself back at shutdown, before it is dropped.
const HAND_BACK_LIMIT: Duration = Duration::from_secs(3);

/// Handles deliveries; clones share everything.
#[derive(Clone)]
pub(super) struct Handler {
    eraser: Eraser,
    line: Intake,
    metrics: Metrics,
    names: Names,
    /// Where deliveries come from.
    queue: Arc<str>,
    publishers: Publishers,
    results: Results,
    waits: Waits,
    /// How often a message may come back before it gets a new copy.
    most_returns: u32,
    hand_back: CancellationToken,
}

/// Keeps the in-flight gauge right on every way out.
struct InFlight(Metrics);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight_dec();
    }
}

impl Handler {
    pub(super) fn new(
        settings: &Settings,
        eraser: Eraser,
        line: Intake,
        metrics: Metrics,
        hand_back: CancellationToken,
    ) -> Self {
        let retry = &settings.retry;
        let budget =
            Budget { initial: retry.initial, max_interval: retry.max_interval, max_elapsed: retry.max_elapsed };
        let waits = Waits::new(retry, settings.guard.poll, line.clone(), metrics.clone(), hand_back.clone());
        let names = Names::new(&settings.broker.prefix);
        let queue = names.requests().into();
        let publishers = Publishers::new(settings.publishers.as_ref());
        let most_returns = settings.broker.delivery_limit;
        let results = Results::new(settings, budget, metrics.clone());
        Self { eraser, line, metrics, names, queue, publishers, results, waits, most_returns, hand_back }
    }

    pub(super) fn shortest_wait(&self) -> Duration {
        self.waits.shortest()
    }

    /// Settles one delivery. An error means that the session is gone: the broker hands the message out again, and the
    /// ledger remembers how far it got.
    pub(super) async fn handle(&self, mut delivery: Delivery, session: &Session) {
        self.metrics.request_received();
        self.metrics.in_flight_inc();
        let _in_flight = InFlight(self.metrics.clone());
        let span = tracing::info_span!("request", request_id = tracing::field::Empty, asset_id = tracing::field::Empty);
        let message = &mut delivery.message;
        let (exchange, id) = (self.names.exchange(), message.message_id.as_deref());
        let mut traced = traces::processing(&message.trace, exchange, REQUEST, &self.queue, id);
        // A copy of the message keeps what it came with: each attempt is below its publisher's span.
        if let Some(own) = traced.own_context() {
            message.trace = own;
        }
        let settled = self.settle(delivery, session, &mut traced).instrument(span.clone()).await;
        if let Err(error) = settled {
            traced.failed("not_settled", || error.to_string());
            span.in_scope(|| tracing::warn!(%error, "not settled; the broker hands it out again"));
        }
    }

    async fn settle(&self, delivery: Delivery, session: &Session, span: &mut Span) -> Result<(), BrokerError> {
        let began = Instant::now();
        if self.renews(&delivery.message) {
            return delivery.returned(Return::Fresh).await;
        }
        let verdict = tokio::select! {
            // Dropping the decision is safe at any point: what it did so far is in the ledger.
            () = self.given_up() => return delivery.returned(Return::Fresh).await,
            // In a box: it is most of what a delivery takes, and is moved several times otherwise.
            verdict = caught(Box::pin(self.decide(&delivery.message, session, span))) => verdict,
        };
        note_verdict(span, &verdict);
        self.carry_out(verdict, delivery, session, began).await
    }

    /// Whether a message has come back so often that the broker would bury it before long. The broker counts every session
    /// that ended while a worker had the message, whatever ended it, so a request that can be read gets a new copy, and is
    /// counted anew. The crashes that it causes are counted in the ledger; those of a message that is no request are not.
    fn renews(&self, message: &Message) -> bool {
        let read = || std::panic::catch_unwind(|| Request::decode(message.envelope()));
        message.returns >= self.most_returns && matches!(read(), Ok(Ok(_)))
    }

    /// Ends when the eraser should have handed back long ago.
    async fn given_up(&self) {
        self.hand_back.cancelled().await;
        tokio::time::sleep(HAND_BACK_LIMIT).await;
    }

    /// Does with a delivery what was decided about it.
    pub(super) async fn carry_out(
        &self,
        verdict: Result<Result<Verdict, LedgerError>, String>,
        delivery: Delivery,
        session: &Session,
        began: Instant,
    ) -> Result<(), BrokerError> {
        match verdict {
            // A panic in one request must not leave its delivery held by a worker that forgot it. The broker counts
            // the return, so that the delivery limit ends a request that panics every time.
            Err(panic) => {
                self.metrics.panicked();
                tracing::error!(panic, "a request panicked; it is returned");
                delivery.returned(Return::Nack).await
            }
            Ok(Err(error)) => self.not_recorded(&error, delivery).await,
            Ok(Ok(Verdict::PutOff { delay, reason })) => self.waits.put_off(delivery, delay, reason).await,
            Ok(Ok(Verdict::HandBack)) => delivery.returned(Return::Fresh).await,
            Ok(Ok(Verdict::Answer(answer))) => {
                if !self.publish(&answer, &delivery.message, session).await? {
                    return self.waits.put_off(delivery, self.waits.shortest(), PutOff::Unroutable).await;
                }
                if let Err(error) = self.eraser.heard(&answer).await {
                    return self.not_recorded(&error, delivery).await;
                }
                delivery.answered().await?;
                log_settled(&answer.event, began);
                Ok(())
            }
            Ok(Ok(Verdict::Bury { answer, why, detail })) => {
                if let Some(answer) = &answer
                    && !self.publish(answer, &delivery.message, session).await?
                {
                    return self.waits.put_off(delivery, self.waits.shortest(), PutOff::Unroutable).await;
                }
                if let Copied::Refused(delivery) = delivery.buried(why, &detail).await? {
                    tracing::error!(
                        why = why.as_str(),
                        "the dead queue does not take a message; it waits, and is tried again"
                    );
                    return self.waits.put_off(*delivery, self.waits.before_burial(), PutOff::DeadQueue).await;
                }
                tracing::warn!(why = why.as_str(), detail, "buried");
                let Some(answer) = &answer else { return Ok(()) };
                log_settled(&answer.event, began);
                // Last, as an answer that was heard is not buried again: without it the ledger keeps more than it has to.
                if let Err(error) = self.eraser.heard(answer).await {
                    tracing::warn!(%error, "it is not on record that the answer was published");
                }
                Ok(())
            }
        }
    }

    /// The ledger did not take a record. Only a ledger that takes nothing stops the line; one bad record is its request's.
    async fn not_recorded(&self, error: &LedgerError, delivery: Delivery) -> Result<(), BrokerError> {
        let stop = error.is_unavailable().then_some(Stop::Ledger);
        if let Some(stop) = stop.or_else(|| error.is_set_back().then_some(Stop::LedgerWentBack)) {
            self.line.stop(stop, error.to_string());
        }
        tracing::error!(%error, "not recorded");
        self.waits.put_off(delivery, self.waits.shortest(), PutOff::Stopped(Stop::Ledger)).await
    }

    async fn decide(&self, message: &Message, session: &Session, traced: &mut Span) -> Result<Verdict, LedgerError> {
        let decoded = Request::decode(message.envelope());
        // Before anything else: a user who may not ask uses up no request ID, and no service is called for it.
        if let Some(refused) = self.publishers.refusal(message.publisher.as_deref(), &decoded) {
            return Ok(refused);
        }
        match decoded {
            Err(bad) => {
                if let Some(id) = &bad.request_id {
                    tracing::Span::current().record("request_id", id.as_str());
                    traced.note_text("asset_eraser.request_id", id.as_str());
                }
                self.eraser.refuse(&bad).await
            }
            Ok(request) => {
                let span = tracing::Span::current();
                span.record("request_id", request.request_id.as_str());
                span.record("asset_id", request.asset_id.as_str());
                traced.note_text("asset_eraser.request_id", request.request_id.as_str());
                traced.note_text("asset_eraser.asset_id", request.asset_id.as_str());
                let delivered = Delivered { trace: message.trace.clone() };
                let announcer = Announcer { handler: self, session, trace: &message.trace };
                self.eraser.erase(&request, &delivered, &announcer, &self.hand_back).await
            }
        }
    }

    /// Publishes the result, and the end of its case, until the broker confirms that a queue has them. `false` when no
    /// queue is bound for one within the budget: the delivery must not be held for as long as that lasts.
    async fn publish(&self, answer: &Publication, message: &Message, session: &Session) -> Result<bool, BrokerError> {
        let event = &answer.event;
        let key = format!("result.{}", event.outcome);
        let mut span = traces::publishing(&message.trace, self.names.exchange(), &key, &event.id);
        let properties = result_properties(event, message, &span.context(&message.trace));
        if !self.results.publish(session, &key, &event.body, properties, &mut span).await? {
            return Ok(false);
        }
        drop(span);
        self.metrics.result(&event.outcome, &event.cause);
        self.metrics.proof(&event.proof);
        self.reply(event, message, session).await;
        let Some(case) = &answer.case else { return Ok(true) };
        let key = case.kind.routing_key();
        let mut span = traces::publishing(&message.trace, self.names.exchange(), key, &case.id);
        let properties = event_properties(&case.id, &span.context(&message.trace));
        if !self.results.publish(session, key, &case.body, properties, &mut span).await? {
            return Ok(false);
        }
        self.metrics.notice(case.kind);
        tracing::info!(event = case.id, "the request's case is complete");
        Ok(true)
    }

    /// The copy for `reply_to`. A requester that has gone away must not hold up the queue: its copy is given up, the
    /// result itself is already confirmed.
    async fn reply(&self, event: &ResultEvent, message: &Message, session: &Session) {
        let Some(queue) = message.reply_to.as_deref().filter(|queue| !queue.is_empty()) else { return };
        // Nor may a user who may not ask make the worker write into a queue of their choice.
        if event.cause == Cause::PublisherNotAllowed.as_str() {
            return;
        }
        // A result in one of our own queues would be read as a request, or never.
        if self.names.is_internal(queue) {
            return tracing::warn!(queue, "reply_to names a queue of the worker itself; no copy is sent");
        }
        // The rest of a direct reply-to's name is the key to its requester.
        let told = if queue.starts_with(DIRECT_REPLY) { DIRECT_REPLY } else { queue };
        let mut span = traces::publishing(&message.trace, "", told, &event.id);
        let properties = result_properties(event, message, &span.context(&message.trace));
        let sent = session.reply(queue, event.body.as_bytes(), properties).await;
        match not_published(sent, &mut span) {
            Ok(Routed::Yes) => return,
            Ok(Routed::No | Routed::Refused) => {
                span.failed("unroutable", || "no queue took it".to_owned());
                tracing::warn!(
                    queue = told,
                    "the reply_to queue does not exist or is full; the result went to the exchange only"
                );
            }
            Err(error) => {
                tracing::warn!(%error, queue = told, "no copy for reply_to; the result went to the exchange only");
            }
        }
        self.metrics.reply_unroutable();
    }
}

/// Publishes what the eraser has to tell on the way.
struct Announcer<'a> {
    handler: &'a Handler,
    session: &'a Session,
    trace: &'a TraceContext,
}

impl Announce for Announcer<'_> {
    fn announce<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, bool> {
        async move {
            let (exchange, key) = (self.handler.names.exchange(), notice.kind.routing_key());
            let mut span = traces::publishing(self.trace, exchange, key, &notice.id);
            let properties = event_properties(&notice.id, &span.context(self.trace));
            let body = notice.body.as_bytes();
            let published = self.session.publisher().publish(exchange, key, body, properties).await;
            match not_published(published, &mut span) {
                // When no queue is bound for it, no reader wants it.
                Ok(Routed::Yes | Routed::No) => {
                    self.handler.metrics.notice(notice.kind);
                    true
                }
                Ok(Routed::Refused) => {
                    span.failed("refused", || "a queue did not take it".to_owned());
                    tracing::warn!(exchange, key, "a queue that is bound for this event does not take it");
                    false
                }
                Err(error) => {
                    tracing::warn!(%error, key, "an event was not published");
                    false
                }
            }
        }
        .boxed()
    }
}

/// What was decided, on the span of the delivery. Only what is the worker's or the provider's trouble is an error.
fn note_verdict(span: &mut Span, verdict: &Result<Result<Verdict, LedgerError>, String>) {
    let answer = match verdict {
        Err(panic) => return span.failed("panic", || panic.clone()),
        Ok(Ok(Verdict::HandBack)) => return span.note("asset_eraser.put_off", "shutdown"),
        Ok(Err(error)) => return span.failed("ledger", || error.to_string()),
        Ok(Ok(Verdict::PutOff { reason, .. })) => return span.note("asset_eraser.put_off", reason.as_str()),
        Ok(Ok(Verdict::Answer(answer))) => answer,
        Ok(Ok(Verdict::Bury { answer, why, .. })) => {
            span.note("asset_eraser.buried", why.as_str());
            let Some(answer) = answer else { return };
            answer
        }
    };
    let event = &answer.event;
    span.note_text("asset_eraser.outcome", &event.outcome);
    if !event.cause.is_empty() {
        span.note_text("asset_eraser.cause", &event.cause);
    }
    if event.outcome == "failed" {
        span.failed(&event.cause, || event.cause.clone());
    }
}

fn log_settled(event: &ResultEvent, began: Instant) {
    tracing::info!(
        request = event.request_id,
        asset = event.asset_id,
        outcome = event.outcome,
        cause = event.cause,
        attempts = event.attempts,
        duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "settled"
    );
}
