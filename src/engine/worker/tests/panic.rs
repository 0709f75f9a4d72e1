//! A panic in one request, or in the worker's own work on it, against a real RabbitMQ.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::super::*;
use crate::neighbours::backup::Backups;
use crate::neighbours::broker::publisher::Routed;
use crate::neighbours::broker::topology::Names;
use crate::neighbours::guard::Guard;
use crate::neighbours::ledger::Ledger;
use crate::neighbours::provider::Client;
use crate::platform::panics::caught;

const SOON: Duration = Duration::from_secs(30);

struct Parts {
    settings: Settings,
    eraser: Eraser,
    gate: Gate,
    line: Intake,
    metrics: Metrics,
}

/// A worker whose provider is nowhere; requests under names of its own.
async fn parts() -> Parts {
    let url = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
    let prefix = format!("t-{}", uuid::Uuid::new_v4().simple());
    let settings = Settings::with(&[
        ("BROKER__URL", &url),
        ("BROKER__PREFIX", &prefix),
        ("PROVIDER__BASE_URL", "http://127.0.0.1:1"),
        ("LEDGER__URL", "memory:"),
    ]);
    let metrics = Metrics::new().unwrap();
    let (line, gate) = (Intake::new(metrics.clone()), Gate::new(settings.worker.concurrency, None, metrics.clone()));
    let provider = Client::new(&settings.provider, gate.clone(), metrics.clone()).unwrap();
    let guard = Guard::new(&settings.guard, provider.clone(), metrics.clone()).unwrap();
    let ledger = Ledger::open(&settings.ledger.url, metrics.clone()).await.unwrap();
    let backups = Backups::new(settings.backup.clone()).unwrap();
    let eraser = Eraser::new(settings.clone(), provider, guard, ledger, backups, line.clone(), metrics.clone());
    Parts { settings, eraser, gate, line, metrics }
}

impl Parts {
    async fn session(&self) -> Session {
        let topology = TopologySettings::of(&self.settings);
        Session::open(&self.settings.broker, None, &topology, &self.metrics).await.unwrap()
    }

    fn handler(&self) -> Handler {
        let (eraser, line) = (self.eraser.clone(), self.line.clone());
        Handler::new(&self.settings, eraser, line, self.metrics.clone(), CancellationToken::new())
    }

    async fn publish(&self, session: &Session, body: &str) {
        let exchange = &self.settings.broker.prefix;
        let published =
            session.publisher().publish(exchange, "request", body.as_bytes(), BasicProperties::default()).await;
        assert_eq!(published.unwrap(), Routed::Yes);
    }

    fn counted(&self, sample: &str) -> bool {
        self.metrics.render().unwrap().lines().any(|line| line == sample)
    }

    /// Takes the queues away again.
    async fn clean_up(&self) {
        let url = self.settings.broker.urls[0].expose_secret();
        let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let names = Names::new(&self.settings.broker.prefix);
        let waits = TopologySettings::of(&self.settings).delays.into_iter().map(|delay| names.wait(delay));
        for queue in waits.chain([names.requests(), names.dead(), names.results()]) {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        }
        channel.exchange_delete(names.exchange().into(), ExchangeDeleteOptions::default()).await.unwrap();
    }
}

async fn next(consumer: &mut Consumer) -> Delivery {
    timeout(SOON, consumer.next()).await.expect("a delivery in time").expect("a delivery")
}

#[tokio::test]
async fn a_request_that_panics_is_counted_and_returned_and_the_others_go_on() {
    let parts = parts().await;
    let (session, handler) = (parts.session().await, parts.handler());
    parts.publish(&session, "boom").await;
    parts.publish(&session, "not json").await;
    let mut consumer = session.consume(1).await.unwrap();
    let (mut panics, mut others) = (0, Vec::new());
    // The broker hands out what is returned before the others or after them.
    while others.len() < 2 {
        let delivery = next(&mut consumer).await;
        if delivery.message.body == b"boom" && panics < 2 {
            let verdict = caught(async { panic!("over one request") }).await;
            handler.carry_out(verdict, delivery, &session, Instant::now()).await.unwrap();
            panics += 1;
            assert!(parts.counted(&format!("asset_eraser_panics_total {panics}")));
        } else {
            others.push(delivery.message.body.clone());
            handler.handle(delivery, &session).await;
        }
    }
    others.sort();
    assert_eq!(others, [&b"boom"[..], b"not json"]);
    assert!(parts.counted(r#"asset_eraser_dead_letters_total{why="invalid_request"} 2"#));
    assert!(parts.counted("asset_eraser_unsettled_drops_total 0"));
    parts.clean_up().await;
}

#[tokio::test]
async fn a_panic_of_the_worker_itself_costs_the_session_and_nothing_else() {
    let parts = parts().await;
    let (state, mut seen) = watch::channel(BrokerState::Connecting);
    let Parts { settings, eraser, gate, line, metrics } = &parts;
    let mut worker = Worker::new(settings.clone(), eraser.clone(), gate.clone(), line.clone(), metrics.clone(), state);
    let shutdown = CancellationToken::new();
    let (panic_now, told) = tokio::sync::oneshot::channel::<()>();
    worker.tasks.spawn(async move {
        told.await.unwrap();
        panic!("in the worker's own work");
    });
    let running = tokio::spawn(worker.run(shutdown.clone()));
    timeout(SOON, seen.wait_for(|state| *state == BrokerState::Connected)).await.unwrap().unwrap();
    panic_now.send(()).unwrap();
    // What the task held would be held for ever otherwise: the broker hands it out again when the session is gone.
    timeout(SOON, seen.wait_for(|state| *state == BrokerState::Connecting)).await.unwrap().unwrap();
    timeout(SOON, seen.wait_for(|state| *state == BrokerState::Connected)).await.unwrap().unwrap();
    assert!(parts.counted("asset_eraser_panics_total 1"));
    let session = parts.session().await;
    parts.publish(&session, "not json").await;
    timeout(SOON, async {
        while !parts.counted(r#"asset_eraser_dead_letters_total{why="invalid_request"} 1"#) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the next message is handled");
    shutdown.cancel();
    running.await.unwrap().unwrap();
    parts.clean_up().await;
}
