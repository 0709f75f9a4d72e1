//! From ended spans to the collector, so that no request waits for it: a bounded queue, which drops what does not fit, and one
//! task that sends batches out of it. The SDK's own batches are sent by a thread that can drive no client of ours, and
//! what it drops is not told.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Most spans that wait to be sent, each about a kilobyte.
const QUEUE: usize = 4096;

/// Most spans in one message to the collector.
const BATCH: usize = 512;

/// How long a batch is gathered, unless it is full before.
const GATHER: Duration = Duration::from_secs(1);

/// How long what is left may take to be sent at shutdown.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// How often lost spans are told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Where ended spans go.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    /// Spans that found no room since that was last told.
    dropped: Arc<AtomicU64>,
}

/// Sends what is in the queue.
#[derive(Debug)]
pub struct Sender<E = opentelemetry_otlp::SpanExporter> {
    spans: mpsc::Receiver<SpanData>,
    exporter: E,
    dropped: Arc<AtomicU64>,
    /// Spans that the collector is being sent.
    sending: u64,
    lost: Lost,
}

/// Spans that no collector has, since that was last told.
#[derive(Debug, Default)]
struct Lost {
    spans: u64,
    why: Cow<'static, str>,
    told: Option<Instant>,
}

pub(super) fn channel<E: SpanExporter>(exporter: E) -> (Queue, Sender<E>) {
    let (to, from) = mpsc::channel(QUEUE);
    let dropped = Arc::<AtomicU64>::default();
    let queue = Queue { spans: to, dropped: dropped.clone() };
    (queue, Sender { spans: from, exporter, dropped, sending: 0, lost: Lost::default() })
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Err(OTelSdkError::InternalFailure("what is queued is sent when the process ends".to_owned()))
    }

    /// The process ends with [`Sender::run`], not with this.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl<E: SpanExporter> Sender<E> {
    /// Sends until `stop`, and then what is left, for at most two seconds.
    pub async fn run(mut self, stop: CancellationToken) {
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(FLUSH_LIMIT).await;
        };
        tokio::select! {
            () = self.send(&stop) => {}
            () = late => {
                self.lost.spans += self.sending + count(self.spans.len());
                self.lost.why = "the collector took too long at the end".into();
            }
        }
        self.lost.told = None;
        self.tell();
    }

    async fn send(&mut self, stop: &CancellationToken) {
        loop {
            let batch = self.batch(stop).await;
            if batch.is_empty() && stop.is_cancelled() {
                return;
            }
            self.sending = count(batch.len());
            if self.sending > 0
                && let Err(error) = self.exporter.export(batch).await
            {
                self.lost.spans += self.sending;
                self.lost.why = error.to_string().into();
            }
            self.sending = 0;
            self.tell();
        }
    }

    /// What came within the time, or is left after `stop`. Cancel-safe throughout: nothing is taken that is not kept.
    async fn batch(&mut self, stop: &CancellationToken) -> Vec<SpanData> {
        let mut batch = Vec::new();
        let mut until = None;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            let full = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = self.spans.recv_many(&mut batch, room) => {
                    until = until.or_else(|| Some(Instant::now() + GATHER));
                }
                () = full => break,
                () = stop.cancelled() => break,
            }
        }
        batch
    }

    fn tell(&mut self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.lost.spans += dropped;
            if self.lost.why.is_empty() {
                self.lost.why = format!("more than {QUEUE} were waiting").into();
            }
        }
        let due = self.lost.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if self.lost.spans > 0 && due {
            tracing::warn!(
                spans = self.lost.spans,
                why = %self.lost.why,
                "spans were lost on their way to the collector"
            );
            self.lost = Lost { told: Some(Instant::now()), ..Lost::default() };
        }
    }
}

fn count(spans: usize) -> u64 {
    u64::try_from(spans).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry::trace::{Tracer, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// A collector, by what it does with a batch.
    #[derive(Clone, Debug)]
    enum Collector {
        Takes(Arc<Mutex<Vec<usize>>>),
        Refuses,
        Hangs,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            match self {
                Self::Takes(sizes) => sizes.lock().unwrap().push(batch.len()),
                Self::Refuses => return Err(OTelSdkError::InternalFailure("no".to_owned())),
                Self::Hangs => std::future::pending().await,
            }
            Ok(())
        }
    }

    /// A sender in whose queue so many spans have ended.
    fn after(spans: usize, collector: Collector) -> (SdkTracerProvider, Sender<Collector>) {
        let (queue, sender) = channel(collector);
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        for _ in 0..spans {
            drop(tracer.start("span"));
        }
        (provider, sender)
    }

    fn stopped() -> CancellationToken {
        let stop = CancellationToken::new();
        stop.cancel();
        stop
    }

    #[tokio::test]
    async fn what_is_left_is_sent_at_the_end_in_batches() {
        let sizes = Arc::<Mutex<Vec<usize>>>::default();
        let (_provider, sender) = after(BATCH * 2 + 3, Collector::Takes(sizes.clone()));
        sender.run(stopped()).await;
        assert_eq!(*sizes.lock().unwrap(), [BATCH, BATCH, 3]);
    }

    #[tokio::test]
    async fn a_few_spans_are_sent_without_waiting_for_more() {
        let sizes = Arc::<Mutex<Vec<usize>>>::default();
        let (_provider, sender) = after(3, Collector::Takes(sizes.clone()));
        let stop = CancellationToken::new();
        let running = tokio::spawn(sender.run(stop.clone()));
        while sizes.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        running.await.unwrap();
        assert_eq!(*sizes.lock().unwrap(), [3]);
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_what_it_drops_is_counted() {
        let (_provider, mut sender) = after(QUEUE + 70, Collector::Refuses);
        assert_eq!(sender.dropped.load(Ordering::Relaxed), 70);
        sender.lost.told = Some(Instant::now());
        sender.send(&stopped()).await;
        assert_eq!((sender.lost.spans, &*sender.lost.why), (4096 + 70, "Operation failed: no"));
    }

    #[tokio::test]
    async fn a_collector_that_hangs_does_not_hold_up_the_end() {
        let (_provider, sender) = after(3, Collector::Hangs);
        let began = Instant::now();
        sender.run(stopped()).await;
        assert!((FLUSH_LIMIT..FLUSH_LIMIT * 10).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}
