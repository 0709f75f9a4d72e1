//! The test's own eyes and hands on the broker: its own names, and everything that came out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::{LIMIT, until, until_within};

/// One result as it came: routing key, properties, body.
#[derive(Clone)]
pub struct Seen {
    pub key: String,
    pub properties: BasicProperties,
    pub event: Value,
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Sums over everything that came out.
#[derive(Default)]
struct Sums {
    /// Requests with an answer of their own.
    answered: BTreeSet<String>,
    event_ids: BTreeSet<String>,
}

pub struct Broker {
    pub prefix: String,
    url: String,
    channel: Channel,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// What is asked for so often that it is kept beside [`Self::seen`].
    sums: Arc<Mutex<Sums>>,
    collecting: Option<JoinHandle<()>>,
    // Declared last: the channel needs it until then.
    connection: Connection,
}

async fn open(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("the broker of AMQP_URL");
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

impl Broker {
    pub async fn connect(url: &str, prefix: &str) -> Self {
        let (connection, channel) = open(url).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (prefix, url) = (prefix.to_owned(), url.to_owned());
        Self { prefix, url, channel, seen, sums: Arc::default(), collecting: None, connection }
    }

    /// To another node of the cluster.
    pub async fn reconnect_to(&mut self, url: &str) {
        url.clone_into(&mut self.url);
        self.reconnect().await;
    }

    /// After a restart of the broker.
    pub async fn reconnect(&mut self) {
        let url = self.url.clone();
        let connected = until("the broker takes connections", || async {
            Connection::connect(&url, ConnectionProperties::default()).await.ok()
        })
        .await;
        self.channel = connected.create_channel().await.unwrap();
        self.channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        self.connection = connected;
        self.collecting = None;
    }

    pub fn queue(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// One that the broker may close; it confirms what is published.
    pub async fn another_channel(&self) -> Channel {
        let channel = self.connection.create_channel().await.unwrap();
        channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.unwrap();
        channel
    }

    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    pub fn password(&self) -> String {
        let url = url::Url::parse(&self.url).unwrap();
        url.password().unwrap_or("guest").to_owned()
    }

    pub async fn publish_request(&self, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = properties.with_delivery_mode(2);
        // A queue of a cluster refuses until it has found a leader.
        until("the broker takes the request", || async {
            let (exchange, key) = (self.prefix.as_str().into(), "request".into());
            let sent = self.channel.basic_publish(exchange, key, options, body, properties.clone()).await;
            let confirmed = sent.unwrap().await.unwrap();
            confirmed.is_ack().then(|| assert!(confirmed.take_message().is_none(), "the request was not routed"))
        })
        .await;
    }

    /// Takes the results out of their queue as they come.
    async fn collect(&mut self) {
        if self.collecting.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (queue, options) = (self.queue("results"), BasicConsumeOptions::default());
        let channel = self.channel.clone();
        let mut results = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap();
        let (seen, sums) = (self.seen.clone(), self.sums.clone());
        self.collecting = Some(tokio::spawn(async move {
            while let Some(Ok(delivery)) = results.next().await {
                let text = String::from_utf8(delivery.data.clone()).unwrap();
                let event = serde_json::from_str(&text).unwrap();
                let (key, properties) = (delivery.routing_key.to_string(), delivery.properties.clone());
                let at_ms = jiff::Timestamp::now().as_millisecond();
                sums.lock().unwrap().add(&event);
                seen.lock().unwrap().push(Seen { key, properties, event, text, at_ms });
                if delivery.ack(BasicAckOptions::default()).await.is_err() {
                    return;
                }
            }
        }));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Every result of a request so far; waits for the first `count`.
    pub async fn results(&mut self, request: &str, count: usize) -> Vec<Seen> {
        self.collect().await;
        let seen = self.seen.clone();
        until(&format!("{count} results of {request}"), || async {
            let all = seen.lock().unwrap();
            let own: Vec<Seen> = all.iter().filter(|one| one.event["data"]["request_id"] == request).cloned().collect();
            (own.len() >= count).then_some(own)
        })
        .await
    }

    pub async fn result(&mut self, request: &str) -> Value {
        self.results(request, 1).await.remove(0).event
    }

    /// Every event so far that says a case is complete; waits for the first `count`.
    pub async fn completed(&mut self, case: &str, count: usize) -> Vec<Seen> {
        self.collect().await;
        let seen = self.seen.clone();
        until(&format!("{count} times the end of case {case}"), || async {
            let all = seen.lock().unwrap();
            let own = |one: &&Seen| one.key == "result.case_completed" && one.event["data"]["case_id"] == case;
            let own: Vec<Seen> = all.iter().filter(own).cloned().collect();
            (own.len() >= count).then_some(own)
        })
        .await
    }

    /// Waits until so many different requests have a result.
    pub async fn requests_answered(&mut self, count: usize) {
        self.collect().await;
        let sums = self.sums.clone();
        until_within(LIMIT * 4, &format!("results of {count} requests"), || async {
            (sums.lock().unwrap().answered.len() >= count).then_some(())
        })
        .await;
    }

    pub fn answered(&self) -> usize {
        self.sums.lock().unwrap().answered.len()
    }

    /// How many different events have come.
    pub fn events(&self) -> usize {
        self.sums.lock().unwrap().event_ids.len()
    }

    /// An event may come twice, but a request has one event ID and an event ID one content. (A conflict is an answer
    /// to another request under a used ID, and has an event ID of its own; so has the answer to a user who may not
    /// ask.)
    pub fn assert_one_event_a_request(&self) {
        let mut contents = BTreeMap::new();
        for one in self.seen() {
            let id = one.event["id"].as_str().unwrap().to_owned();
            let first = contents.entry(id).or_insert_with(|| one.text.clone());
            assert_eq!(*first, one.text, "one event ID with two contents");
        }
        for (request, ids) in by_request(&self.seen.lock().unwrap()) {
            assert_eq!(ids.len(), 1, "{request} has the event IDs {ids:?}");
        }
    }

    pub async fn count(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = self.queue(queue);
        self.channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap().message_count()
    }

    /// One message out of a queue, acknowledged.
    pub async fn take(&self, queue: &str) -> Option<(BasicProperties, Vec<u8>)> {
        let name = self.queue(queue);
        let got = self.channel.basic_get(name.into(), BasicGetOptions { no_ack: true }).await.unwrap();
        got.map(|message| (message.delivery.properties.clone(), message.delivery.data.clone()))
    }

    /// A durable queue beside the worker's own. It gets what the exchange publishes under `key`, or with `None` only what
    /// is sent to it by name.
    pub async fn queue_beside(&self, name: &str, key: Option<&str>) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let queue = self.queue(name);
        self.channel.queue_declare(queue.as_str().into(), options, arguments).await.unwrap();
        if let Some(key) = key {
            let (exchange, bind) = (self.prefix.as_str().into(), QueueBindOptions::default());
            self.channel.queue_bind(queue.into(), exchange, key.into(), bind, FieldTable::default()).await.unwrap();
        }
    }

    async fn wait_queues(&self) -> Vec<String> {
        let mut found = Vec::new();
        for delay in ["200ms", "300ms", "400ms", "1s", "2s", "5s"] {
            // A passive declaration of a missing queue closes its channel, so each has its own.
            let channel = self.connection.create_channel().await.unwrap();
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let name = self.queue(&format!("wait.{delay}"));
            if channel.queue_declare(name.into(), options, FieldTable::default()).await.is_ok() {
                found.push(format!("wait.{delay}"));
            }
        }
        found
    }

    pub async fn until_empty(&mut self, dead: u32) {
        self.collect().await;
        let mut queues = self.wait_queues().await;
        queues.extend(["requests".to_owned(), "results".to_owned()]);
        for queue in &queues {
            until(&format!("{queue} is empty"), || async { (self.count(queue).await == 0).then_some(()) }).await;
        }
        until(&format!("{dead} messages are dead"), || async { (self.count("dead").await == dead).then_some(()) })
            .await;
    }

    pub async fn clean_up(&mut self) {
        let mut queues = self.wait_queues().await;
        queues.extend(["requests", "dead", "results"].map(str::to_owned));
        for queue in queues {
            let name = self.queue(&queue);
            self.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
        }
        let exchange = self.prefix.as_str().into();
        self.channel.exchange_delete(exchange, ExchangeDeleteOptions::default()).await.unwrap();
    }
}

impl Sums {
    fn add(&mut self, event: &Value) {
        self.event_ids.extend(event["id"].as_str().map(str::to_owned));
        self.answered.extend(answered_by(event).map(str::to_owned));
    }
}

/// The request whose own answer an event is; the end of a case is no request's, and a refusal beside the request neither.
fn answered_by(event: &Value) -> Option<&str> {
    let data = &event["data"];
    let beside = data["cause"] == "request_conflict" || data["cause"] == "publisher_not_allowed";
    data["request_id"].as_str().filter(|_| !beside)
}

fn by_request(seen: &[Seen]) -> BTreeMap<String, Vec<String>> {
    let mut requests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in seen {
        let Some(request) = answered_by(&one.event).map(str::to_owned) else { continue };
        let id = one.event["id"].as_str().unwrap().to_owned();
        let ids = requests.entry(request).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    requests
}

impl Drop for Broker {
    /// A failed test leaves no queues behind either.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (url, prefix) = (self.url.clone(), self.prefix.clone());
            let cleaning = std::thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(async {
                    let cleaning = async { Broker::connect(&url, &prefix).await.clean_up().await };
                    let _ = tokio::time::timeout(Duration::from_secs(10), cleaning).await;
                });
            });
            let _ = cleaning.join();
        }
    }
}
