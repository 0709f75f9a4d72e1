//! What holds for the properties of every message, whatever their bytes are. Asked by the property tests and by the
//! fuzzer.

use lapin::protocol::basic::parse_properties;

use super::clean::{Frames, content_header};
use super::headers::{MOST_KEPT, copied, table_size};
use super::settlement;

/// Class, weight and body size.
const BEFORE: [u8; 12] = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The input is the flags and the properties of a content header, as they come over the wire.
pub(crate) fn properties(input: &[u8]) {
    let mut payload = [&BEFORE[..], input].concat();
    let size = u32::try_from(payload.len()).expect("a short input").to_be_bytes();
    let frame = [&[2, 0, 1][..], &size, &payload, &[0xce]].concat();
    let mut frames = Frames::default();
    let (first, second) = frame.split_at(frame.len() / 2);
    frames.take(first).expect("a short frame");
    frames.take(second).expect("a short frame");
    let mut cleaned = vec![0; frame.len() + 1];
    assert_eq!(frames.give(&mut cleaned), frame.len(), "nothing is lost, and nothing held back");
    assert_eq!((&cleaned[..7], cleaned[frame.len() - 1]), (&frame[..7], 0xce));
    let cleaned = &cleaned[7..frame.len() - 1];

    let readable = content_header(&mut payload).is_some();
    assert!(cleaned == payload);
    // What a broker passes on can be followed to its end. Then the library can read it: that is the whole point.
    let parsed = parse_properties(&cleaned[BEFORE.len()..]);
    assert!(!readable || parsed.is_ok(), "{:?}", parsed.err());
    let Ok((_, parsed)) = parsed else { return };
    for own in [None, Some("worker".into())] {
        let message = settlement::read(Vec::new(), &parsed, own.as_ref());
        assert!(message.trace.tracestate.is_none() || message.trace.traceparent.is_some());
    }
    let copy = copied(&parsed, &[("x-asset-eraser-why", "because")]);
    let size = copy.headers().as_ref().map_or(0, table_size);
    assert!(size <= MOST_KEPT + 400, "the headers of a copy have {size} bytes");
    assert!(copy.expiration().is_none() && copy.user_id().is_none());
    let again = copied(&copy, &[("x-asset-eraser-why", "because")]);
    assert!(size >= again.headers().as_ref().map_or(0, table_size), "copies grow");
}
