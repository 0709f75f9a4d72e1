//! The headers of a message, and what a copy takes along of them.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

/// Headers that the broker writes or acts upon. On a copy they would be wrong (the counts), or send it elsewhere (CC).
const NOT_COPIED: [&str; 6] = ["CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count", "x-opt-deaths"];
const NOT_COPIED_PREFIXES: [&str; 2] = ["x-first-death-", "x-last-death-"];

/// Where a copy keeps the broker-validated `user_id`: as a property, the broker would refuse it from our connection.
/// Every publisher can write this header, so it says who published the original only on a copy that is signed: whose own
/// `user_id`, validated like any other, is ours.
pub(super) const USER_ID: &str = "x-asset-eraser-user-id";

/// Room for what a copy gets after its headers were chosen, in bytes: two names of users, and what the broker writes.
const ROOM: usize = 1024;

/// The longest `detail` of a copy, in bytes. All properties of a message go into one frame, and those that a publisher
/// wrote may have most of a small one.
pub(super) fn longest_detail(frame_max: u32) -> usize {
    (frame_max as usize / 4).min(2_000)
}

/// What a copy keeps: everything but what belongs to this one journey of the message. An `expiration` would make the
/// copy come back at another time than its wait queue says, or vanish from the dead queue. One that is larger than
/// `frame_max` would cost the connection, and with it the deliveries of all others, each time it is tried.
pub(super) fn copied(original: &BasicProperties, added: &[(&str, &str)], frame_max: u32) -> BasicProperties {
    let room = frame_max as usize / 8 * 7;
    let room = room.saturating_sub(texts_size(original) + added_size(added) + ROOM);
    let mut headers = original.headers().as_ref().map(|headers| kept(headers, room)).unwrap_or_default();
    if let Some(user) = original.user_id() {
        headers.insert(USER_ID.into(), AMQPValue::LongString(user.as_str().into()));
    }
    for (name, value) in added {
        headers.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    let mut copy = BasicProperties::default().with_headers(headers);
    macro_rules! keep {
        ($($get:ident $with:ident),*) => {
            $(if let Some(value) = original.$get() { copy = copy.$with(value.clone()); })*
        };
    }
    keep!(content_type with_content_type, content_encoding with_content_encoding, priority with_priority,
          correlation_id with_correlation_id, reply_to with_reply_to, message_id with_message_id,
          timestamp with_timestamp, kind with_type, app_id with_app_id);
    copy
}

/// The headers of the publisher's that a copy takes along: the smallest first, as many as fit.
fn kept(original: &FieldTable, mut room: usize) -> FieldTable {
    let wanted = |name: &str| {
        !NOT_COPIED.iter().any(|other| name.eq_ignore_ascii_case(other))
            && !NOT_COPIED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let entries = original.inner().iter().filter(|(name, _)| wanted(name.as_str()));
    let mut entries: Vec<_> = entries.map(|(name, value)| (entry_size(name, value), name, value)).collect();
    entries.sort_by_key(|(size, _, _)| *size);
    let mut headers = FieldTable::default();
    for (size, name, value) in entries {
        let Some(left) = room.checked_sub(size) else {
            tracing::warn!(name = %name.as_str().escape_debug(), size, "a header of a message is too large for its copy");
            continue;
        };
        room = left;
        headers.insert(name.clone(), value.clone());
    }
    headers
}

/// Bytes of the texts among the properties, on the wire.
fn texts_size(original: &BasicProperties) -> usize {
    let texts = [
        original.content_type(),
        original.content_encoding(),
        original.correlation_id(),
        original.reply_to(),
        original.message_id(),
        original.kind(),
        original.app_id(),
    ];
    texts.into_iter().flatten().map(|text| 1 + text.as_str().len()).sum()
}

fn added_size(added: &[(&str, &str)]) -> usize {
    added.iter().map(|(name, value)| 1 + name.len() + 5 + value.len()).sum()
}

/// Bytes on the wire.
fn entry_size(name: &ShortString, value: &AMQPValue) -> usize {
    1 + name.as_str().len() + value_size(value)
}

fn table_size(table: &FieldTable) -> usize {
    table.inner().iter().map(|(name, value)| entry_size(name, value)).sum()
}

fn value_size(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::Void => 0,
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::FieldArray(array) => 4 + array.as_slice().iter().map(value_size).sum::<usize>(),
        AMQPValue::FieldTable(table) => 4 + table_size(table),
        // A number, a time or a truth value: none is longer.
        _ => 8,
    }
}

/// A copy that will be believed about who published the original. So it loses a header of that name which the original came
/// with: the broker does not vouch for that one.
pub(super) fn signed(copy: BasicProperties, own: &ShortString, publisher: Option<&str>) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in copy.headers().iter().flat_map(FieldTable::inner) {
        if name.as_str() != USER_ID {
            headers.insert(name.clone(), value.clone());
        }
    }
    if let Some(publisher) = publisher {
        headers.insert(USER_ID.into(), AMQPValue::LongString(publisher.into()));
    }
    copy.with_headers(headers).with_user_id(own.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_the_publisher_said_and_drops_what_the_broker_added() {
        let mut headers = FieldTable::default();
        for name in ["CC", "x-death", "x-first-death-queue", "x-delivery-count", "mine"] {
            headers.insert(name.into(), AMQPValue::LongLongInt(3));
        }
        let original = BasicProperties::default()
            .with_headers(headers)
            .with_expiration("5".into())
            .with_user_id("me".into())
            .with_reply_to("replies".into());
        let copy = copied(&original, &[("x-asset-eraser-why", "because")], 131_072);
        let names: Vec<_> =
            copy.headers().as_ref().unwrap().inner().keys().map(|name| name.as_str().to_owned()).collect();
        assert_eq!(names, ["mine", "x-asset-eraser-user-id", "x-asset-eraser-why"]);
        assert_eq!(copy.reply_to().as_ref().unwrap().as_str(), "replies");
        assert!(copy.expiration().is_none() && copy.user_id().is_none());
    }

    #[test]
    fn a_copy_leaves_out_what_does_not_fit_and_keeps_the_rest() {
        let mut headers = FieldTable::default();
        let text = |length: usize| AMQPValue::LongString("v".repeat(length).into());
        headers.insert("a-much".into(), text(110_000));
        headers.insert("b-more".into(), text(20_000));
        headers.insert("c".into(), text(3));
        let mut array = lapin::types::FieldArray::default();
        array.push(AMQPValue::FieldTable(headers.clone()));
        let copy =
            |headers: &FieldTable| copied(&BasicProperties::default().with_headers(headers.clone()), &[], 131_072);
        let names = |copy: &BasicProperties| -> Vec<String> {
            copy.headers().as_ref().unwrap().inner().keys().map(ToString::to_string).collect()
        };
        assert_eq!(names(&copy(&headers)), ["b-more", "c"]);
        headers.insert("d-array".into(), AMQPValue::FieldArray(array));
        assert_eq!(names(&copy(&headers)), ["b-more", "c"]);
    }
}
