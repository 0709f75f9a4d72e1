//! The dead queue, looked through by a person: each letter is taken, and goes back when the look ends.
//!
//! A letter is replayed by refusing it: the broker itself moves it to the request queue (the dead queue dead-letters
//! there), in one step of its own. Publishing a copy and acknowledging the original would be two, and a process that dies in
//! between has doubled it.

use std::future::IntoFuture;
use std::time::Duration;

use jiff::Timestamp;

use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicRejectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Acker, BasicProperties, Channel, Connection};
use sha2::{Digest, Sha256};

use super::clean::BODY_LEFT_OUT;
use super::connection::{Longest, connect_with};
use super::received::{Message, read};
use super::topology::{Names, is_not_found};
use super::{BrokerError, headers, received};
use crate::contract::message::request::too_long;
use crate::settings;

/// Longest wait for any one answer of the broker.
const LIMIT: Duration = Duration::from_secs(30);

/// Why a letter is dead that was refused in the request queue.
const BROKER_REJECTED: &str = "broker_rejected";

/// Headers that tell of this one delivery, and are another at the next.
const OF_THE_DELIVERY: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// A look through the dead queue. What was taken and neither replayed nor dropped goes back when this ends, however it
/// ends.
pub struct DeadLetters {
    connection: Connection,
    channel: Channel,
    names: Names,
    /// Letters that no other program held when the look began.
    pub total: u32,
    /// The first of them, taken already.
    first: Option<lapin::message::Delivery>,
    left: u32,
}

/// A message in the dead queue.
pub struct Letter {
    /// Short for its content, so the same at every look.
    pub id: String,
    /// Why it is dead: a word of the worker's, or `broker_` and a word of RabbitMQ's.
    pub why: String,
    /// The same for a person; empty where the broker put it there.
    pub detail: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What it says.
    pub message: Message,
    /// Who published the original, as a header says, which every publisher can write.
    original_by: Option<String>,
    /// Its properties and headers, for a person.
    pub properties: Vec<(String, String)>,
    acker: Acker,
}

impl DeadLetters {
    /// Begins a look. It ends after as many letters as there are now: what is buried meanwhile, a replayed one again for
    /// instance, is for the next look.
    ///
    /// # Errors
    /// When the broker cannot be reached, or has no such queue.
    pub async fn open(settings: &settings::BrokerSettings) -> Result<Self, BrokerError> {
        Self::open_with(settings, Longest::REQUEST).await
    }

    /// The same; each letter comes with its body, which may be of any length.
    ///
    /// # Errors
    /// As [`DeadLetters::open`].
    pub async fn open_for_bodies(settings: &settings::BrokerSettings) -> Result<Self, BrokerError> {
        Self::open_with(settings, Longest::ANY).await
    }

    async fn open_with(settings: &settings::BrokerSettings, longest: Longest) -> Result<Self, BrokerError> {
        let names = Names::new(&settings.prefix);
        let connection = limited(connect_with(settings, longest)).await?;
        let channel = limited(connection.create_channel()).await?;
        // Before they are counted: a quorum queue may not count yet what the last look has given back, but hands it out.
        let first = match limited(channel.basic_get(names.dead().into(), BasicGetOptions::default())).await {
            Err(BrokerError::Amqp(error)) if is_not_found(&error) => return Err(no_queue(&names)),
            first => first?.map(|got| got.delivery),
        };
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(names.dead().into(), passive, FieldTable::default());
        let left = limited(declared).await?.message_count();
        let total = left + u32::from(first.is_some());
        Ok(Self { connection, channel, names, total, first, left })
    }

    /// The next letter; `None` after the last.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn next(&mut self) -> Result<Option<Letter>, BrokerError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(Letter::new(first, &self.names)));
        }
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let got = self.channel.basic_get(self.names.dead().into(), BasicGetOptions::default());
        let Some(got) = limited(got).await? else {
            // Another program has taken what was left.
            self.left = 0;
            return Ok(None);
        };
        Ok(Some(Letter::new(got.delivery, &self.names)))
    }

    /// Ends the look. Only after this it is sure that what was replayed or dropped is.
    ///
    /// # Errors
    /// When the broker does not answer; each letter is then either where it was or where it was to go.
    pub async fn close(self) -> Result<(), BrokerError> {
        // Together and by us, so that the queue keeps its order. Tag 0 is everything that is still held.
        limited(self.channel.basic_nack(0, BasicNackOptions { multiple: true, requeue: true })).await?;
        // Answered after everything that was said before on this channel.
        limited(self.channel.close(200, "looked".into())).await?;
        limited(self.connection.close(200, "bye".into())).await
    }
}

impl Letter {
    fn new(delivery: lapin::message::Delivery, ours: &Names) -> Self {
        let (mut properties, acker) = (delivery.properties, delivery.acker);
        if is_long(&delivery.data) {
            properties = without_body(properties, delivery.data.len());
        }
        let message = read(delivery.data, &properties, None);
        let original_by = received::header_text(&properties, headers::USER_ID);
        let (mut why, mut detail, since) = death(&properties, ours);
        let properties = shown(&properties);
        let id = id(if is_long(&message.body) { &[] } else { &message.body }, &properties);
        // The worker cannot copy such a message. It rejects it, and the broker moves it here without the worker's headers.
        if let (Some(size), BROKER_REJECTED) = (message.left_out, why.as_str()) {
            (why, detail) = ("invalid_request".to_owned(), too_long(size));
        }
        Self { id, why, detail, since, message, original_by, properties, acker }
    }

    /// Who has published it, as far as the broker vouches for that. A copy is the worker's, by its `user_id`, and is believed
    /// about the original where that is `worker`.
    #[must_use]
    pub fn publisher(&self, worker: Option<&str>) -> Option<&str> {
        let publisher = self.message.publisher.as_deref();
        if publisher.is_some() && publisher == worker { self.original_by.as_deref() } else { publisher }
    }

    /// The user who signed it as a copy, if that is not `worker`: the worker under another name, or a publisher who lies.
    #[must_use]
    pub fn signed_by_another(&self, worker: Option<&str>) -> Option<&str> {
        let signer = self.message.publisher.as_deref()?;
        (self.original_by.is_some() && Some(signer) != worker).then_some(signer)
    }

    /// The length of its body, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.message.left_out.unwrap_or(self.message.body.len() as u64)
    }

    /// Has the broker move it to the request queue, as if it had just been published.
    ///
    /// # Errors
    /// When the connection is gone; then it is still in the dead queue.
    pub async fn replay(&self) -> Result<(), BrokerError> {
        limited(self.acker.reject(BasicRejectOptions { requeue: false })).await.map(|_| ())
    }

    /// Removes it for good.
    ///
    /// # Errors
    /// When the connection is gone; then it is still in the dead queue.
    pub async fn drop_for_good(&self) -> Result<(), BrokerError> {
        limited(self.acker.ack(BasicAckOptions::default())).await.map(|_| ())
    }
}

/// Whether a look leaves such a body out, unless it is one for bodies.
fn is_long(body: &[u8]) -> bool {
    body.len() as u64 > Longest::REQUEST.body
}

/// What came with a body, as it would have come without: a letter has one ID, however it is looked at.
fn without_body(properties: BasicProperties, size: usize) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(BODY_LEFT_OUT.into(), AMQPValue::LongString(size.to_string().into()));
    properties.with_headers(headers)
}

fn no_queue(names: &Names) -> BrokerError {
    let queue = names.dead();
    BrokerError::Settings(format!(
        "broker.prefix: the broker has no queue {queue}, which a worker with this prefix declares when it starts"
    ))
}

/// A connection that broke leaves some questions without an answer.
async fn limited<T, E>(answer: impl IntoFuture<Output = Result<T, E>>) -> Result<T, BrokerError>
where
    BrokerError: From<E>,
{
    let answered = tokio::time::timeout(LIMIT, answer.into_future()).await;
    Ok(answered.map_err(|_| BrokerError::Timeout(LIMIT, "look through the dead queue"))??)
}

/// Why, the same for a person, and since when. A copy of the worker's carries no `x-death`, so one that came out of the
/// request queue tells of a later death than the worker's words, which a replayed letter keeps.
fn death(properties: &BasicProperties, names: &Names) -> (String, String, Option<Timestamp>) {
    let deaths = received::header(properties, "x-death");
    let last = deaths.and_then(|value| match value {
        AMQPValue::FieldArray(deaths) => deaths.as_slice().first(),
        _ => None,
    });
    let last = last.and_then(|value| match value {
        AMQPValue::FieldTable(death) => Some(death.inner()),
        _ => None,
    });
    let text = |name: &str| last.and_then(|death| received::text_of(death.get(name)?));
    if text("queue") == Some(names.requests()) {
        let since = last.and_then(|death| match death.get("time") {
            Some(AMQPValue::Timestamp(second)) => Timestamp::from_second(i64::try_from(*second).ok()?).ok(),
            _ => None,
        });
        return (format!("broker_{}", text("reason").unwrap_or_default()), String::new(), since);
    }
    let said = |name: &str| received::header_text(properties, name);
    let since = said("x-asset-eraser-at").and_then(|at| at.parse().ok());
    // A word of the worker's; anything else is a publisher's.
    let is_word = |why: &String| why.len() <= 64 && why.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let why = said("x-asset-eraser-why").filter(is_word).unwrap_or_else(|| "unknown".to_owned());
    (why, said("x-asset-eraser-detail").unwrap_or_default(), since)
}

/// What AMQP says about a message, but for what belongs to this delivery.
fn shown(properties: &BasicProperties) -> Vec<(String, String)> {
    let mut shown = Vec::new();
    macro_rules! show {
        ($($name:ident),*) => {
            $(if let Some(value) = properties.$name() { shown.push((stringify!($name).to_owned(), value.to_string())); })*
        };
    }
    show!(content_type, content_encoding, correlation_id, reply_to, message_id, timestamp, kind, user_id, app_id);
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        if !OF_THE_DELIVERY.contains(&name.as_str()) {
            let text = received::text_of(value).unwrap_or_else(|| format!("{value:?}"));
            shown.push((name.to_string(), text));
        }
    }
    shown
}

/// Short for all that a letter says, but for a body that is too long. Two letters with one ID say the same, or differ only in
/// bodies that no worker reads, so either will do.
fn id(body: &[u8], properties: &[(String, String)]) -> String {
    let mut hash = Sha256::new();
    for part in properties.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).chain([body]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..6])
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    fn names() -> Names {
        Names::new("p")
    }

    fn dead_by(queue: &str) -> AMQPValue {
        let mut death = FieldTable::default();
        for (name, value) in [("queue", queue), ("reason", "delivery_limit")] {
            death.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        death.insert("time".into(), AMQPValue::Timestamp(1_795_572_000));
        let mut deaths = FieldArray::default();
        deaths.push(AMQPValue::FieldTable(death));
        AMQPValue::FieldArray(deaths)
    }

    #[test]
    fn the_last_death_counts() {
        let mut table = FieldTable::default();
        let unknown = death(&BasicProperties::default(), &names());
        assert_eq!(unknown, ("unknown".to_owned(), String::new(), None));
        for (name, value) in [("why", "invalid_request"), ("detail", "asset_id: …"), ("at", "2026-11-25T01:00:00Z")] {
            table.insert(format!("x-asset-eraser-{name}").into(), AMQPValue::LongString(value.into()));
        }
        let of = |table: &FieldTable| death(&BasicProperties::default().with_headers(table.clone()), &names());
        let buried = of(&table);
        assert_eq!((buried.0.as_str(), buried.1.as_str()), ("invalid_request", "asset_id: …"));
        assert_eq!(buried.2, "2026-11-25T01:00:00Z".parse().ok());
        // On its way through a replay it died in the dead queue, which says nothing.
        table.insert("x-death".into(), dead_by("p.dead"));
        assert_eq!(of(&table), buried);
        table.insert("x-death".into(), dead_by("p.requests"));
        assert_eq!(
            of(&table),
            ("broker_delivery_limit".to_owned(), String::new(), Timestamp::from_second(1_795_572_000).ok())
        );
    }

    #[test]
    fn an_id_follows_from_what_the_letter_says_and_not_from_how_often_it_was_looked_at() {
        let with = |count: i64| {
            let mut table = FieldTable::default();
            table.insert("x-delivery-count".into(), AMQPValue::LongLongInt(count));
            shown(&BasicProperties::default().with_headers(table).with_message_id("m".into()))
        };
        assert_eq!(id(b"body", &with(1)), id(b"body", &with(2)));
        assert_ne!(id(b"body", &with(1)), id(b"bodz", &with(1)));
        assert_ne!(id(b"", &[("a".into(), "bc".into())]), id(b"", &[("ab".into(), "c".into())]));
    }
}
