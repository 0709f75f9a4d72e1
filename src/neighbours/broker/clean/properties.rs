//! The properties of a message: readable, and no larger than the library takes.
//!
//! A publisher may fill a frame with headers; the broker adds its own on the way to a consumer, and the frame is too large.
//! So the largest headers are left out, and one of the worker's says so. The message in the queue keeps them.

use std::ops::Range;

use super::rest::{Rest, table};

/// Class, weight and body size, before the flags.
pub(super) const BEFORE_FLAGS: usize = 12;

/// What a property is made of, in the order of their flags, from the highest bit.
#[derive(Clone, Copy)]
enum PropertyKind {
    Short,
    Table,
    Bytes(usize),
}

const PROPERTIES: [PropertyKind; 14] = [
    PropertyKind::Short,    // content_type
    PropertyKind::Short,    // content_encoding
    PropertyKind::Table,    // headers
    PropertyKind::Bytes(1), // delivery_mode
    PropertyKind::Bytes(1), // priority
    PropertyKind::Short,    // correlation_id
    PropertyKind::Short,    // reply_to
    PropertyKind::Short,    // expiration
    PropertyKind::Short,    // message_id
    PropertyKind::Bytes(8), // timestamp
    PropertyKind::Short,    // type
    PropertyKind::Short,    // user_id
    PropertyKind::Short,    // app_id
    PropertyKind::Short,    // cluster_id
];

/// The flag of the headers.
const HEADERS: u16 = 1 << 13;

/// Says which headers are not there because they could not be read.
pub(in crate::neighbours::broker) const LEFT_OUT: &str = "x-asset-eraser-left-out";

/// Says how many bytes the body has, where it is left out.
pub(in crate::neighbours::broker) const BODY_LEFT_OUT: &str = "x-asset-eraser-body-left-out";

/// Room for [`LEFT_OUT`], for [`BODY_LEFT_OUT`] and for what the broker adds at each delivery, in bytes: whether a header is
/// left out must not depend on how often the message was delivered.
const ROOM: usize = 512;

/// Makes the payload of a content header readable, in its place. Gives another one where that cannot be, or where it has
/// more than `longest` bytes.
pub(super) fn clean(payload: &mut [u8], longest: usize) -> Option<Vec<u8>> {
    match walk(payload) {
        Err(BadProperties) => Some(left_out(payload, "they cannot be read")),
        Ok(table) if payload.len() + ROOM > longest => cut(payload, table?, longest),
        Ok(_) => None,
    }
}

/// Whether a payload can be walked over to its end: a broker passes on nothing else.
#[cfg(any(test, fuzzing))]
pub(in crate::neighbours::broker) fn is_readable(payload: &[u8]) -> bool {
    walk(&mut payload.to_vec()).is_ok()
}

/// The size of the body that a content header announces, in bytes.
pub(super) fn body_size(payload: &[u8]) -> u64 {
    payload.get(4..BEFORE_FLAGS).and_then(|size| size.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// The same message with an empty body, and a header that says how many bytes it had.
pub(super) fn without_body(payload: &[u8]) -> Vec<u8> {
    let said = entry(BODY_LEFT_OUT, &body_size(payload).to_string());
    let mut other = payload.to_vec();
    let table = walk(&mut other).unwrap_or_default();
    let at = table.as_ref().map_or_else(|| before_headers(&other), |table| table.start - 4);
    let (before, entries, after) = match &table {
        Some(table) => (&other[..at], &payload[table.clone()], &payload[table.end..]),
        None => (&other[..at], &[][..], &payload[at..]),
    };
    let mut other = joined(before, &[entries, &said].concat(), after);
    other[4..BEFORE_FLAGS].fill(0);
    other[BEFORE_FLAGS] |= HEADERS.to_be_bytes()[0];
    other
}

/// Where the headers of a payload that has none would stand.
fn before_headers(payload: &[u8]) -> usize {
    let mut walked = payload.to_vec();
    let mut rest = Rest(&mut walked);
    // The two texts that come first have the two highest flags.
    let texts = (payload[BEFORE_FLAGS] >> 6).count_ones();
    let mut kinds = kinds(&mut rest).into_iter().flatten().take(texts as usize);
    // All of them were walked over before.
    let _ = kinds.try_for_each(|kind| property(&mut rest, kind).map(|_| ()));
    payload.len() - rest.0.len()
}

/// Properties that end before or after their payload does.
struct BadProperties;

/// Walks over the properties, changing what has to be. Gives where the entries of the headers stand, if there are any.
fn walk(payload: &mut [u8]) -> Result<Option<Range<usize>>, BadProperties> {
    let length = payload.len();
    let (mut rest, mut headers) = (Rest(payload), None);
    for kind in kinds(&mut rest).ok_or(BadProperties)? {
        let entries = property(&mut rest, kind).ok_or(BadProperties)?;
        if let PropertyKind::Table = kind {
            let end = length - rest.0.len();
            headers = Some(end - entries..end);
        }
    }
    if rest.0.is_empty() { Ok(headers) } else { Err(BadProperties) }
}

/// The kinds of the properties that there are, by the flags.
fn kinds(rest: &mut Rest<'_>) -> Option<impl Iterator<Item = PropertyKind> + use<>> {
    rest.bytes(BEFORE_FLAGS)?;
    let flags = rest.bytes(2)?;
    let flags = u16::from_be_bytes([flags[0], flags[1]]);
    let kinds = PROPERTIES.into_iter().enumerate();
    Some(kinds.filter_map(move |(at, kind)| (flags & (1 << (15 - at)) != 0).then_some(kind)))
}

/// Walks over one property; gives how many bytes a table's entries have.
fn property(rest: &mut Rest<'_>, kind: PropertyKind) -> Option<usize> {
    match kind {
        PropertyKind::Short => rest.text().map(|()| 0),
        PropertyKind::Bytes(length) => rest.bytes(length).map(|_| 0),
        PropertyKind::Table => {
            let entries = rest.long()?;
            let length = entries.len();
            table(entries, 0).map(|()| length)
        }
    }
}

/// The payload without the largest headers; `None` where it fits as it is.
fn cut(payload: &[u8], table: Range<usize>, longest: usize) -> Option<Vec<u8>> {
    let (before, after) = (&payload[..table.start - 4], &payload[table.end..]);
    let room = longest.checked_sub(before.len() + 4 + after.len() + ROOM)?;
    let mut entries = split(&payload[table]);
    entries.sort_by_key(|entry| (counted(entry), *entry));
    let lost = entries.split_off(fitting(&entries, room));
    let bytes: usize = lost.iter().map(|entry| entry.len()).sum();
    let said = entry(LEFT_OUT, &format!("{} of {bytes} bytes, too large to be read", count(lost.len())));
    entries.push(&said);
    (!lost.is_empty()).then(|| joined(before, &entries.concat(), after))
}

/// How many of the entries have room.
fn fitting(entries: &[&[u8]], mut room: usize) -> usize {
    let fits = |entry: &&&[u8]| {
        let left = room.checked_sub(counted(entry));
        room = left.unwrap_or(room);
        left.is_some()
    };
    entries.iter().take_while(fits).count()
}

/// The bytes of an entry, as far as they are the same at each delivery.
fn counted(entry: &[u8]) -> usize {
    let of_the_delivery = |name: &&str| entry.len() < 64 && entry[1..].starts_with(name.as_bytes());
    if ["x-delivery-count", "x-acquired-count"].iter().any(of_the_delivery) { 0 } else { entry.len() }
}

fn count(headers: usize) -> String {
    format!("{headers} {}", if headers == 1 { "header" } else { "headers" })
}

/// The entries of a table that was walked over.
fn split(table: &[u8]) -> Vec<&[u8]> {
    let mut walked = table.to_vec();
    let mut rest = Rest(&mut walked);
    let (mut entries, mut from) = (Vec::new(), 0);
    while !rest.0.is_empty() && rest.entry(0).is_some() {
        let to = table.len() - rest.0.len();
        entries.push(&table[from..to]);
        from = to;
    }
    entries
}

/// The payload of a content header without properties, but for a header that says why; `before` begins with what stands
/// before the flags.
pub(super) fn left_out(before: &[u8], why: &str) -> Vec<u8> {
    let before = [before.get(..BEFORE_FLAGS).unwrap_or(&[0; BEFORE_FLAGS]), &HEADERS.to_be_bytes()].concat();
    joined(&before, &entry(LEFT_OUT, &format!("all properties: {why}")), &[])
}

fn joined(before: &[u8], entries: &[u8], after: &[u8]) -> Vec<u8> {
    [before, &length(entries), entries, after].concat()
}

/// An entry of a table whose value is a text.
fn entry(name: &str, text: &str) -> Vec<u8> {
    let name_length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[name_length][..], name.as_bytes(), b"S", &length(text.as_bytes()), text.as_bytes()].concat()
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}
