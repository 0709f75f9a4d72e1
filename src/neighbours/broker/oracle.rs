//! What holds for the properties of every message, whatever their bytes are. Asked by the property tests and by the
//! fuzzer.

use lapin::protocol::basic::{gen_properties, parse_properties};

use super::clean::{AROUND, BODY_LEFT_OUT, Frames, is_readable};
use super::headers::{copied, signed};
use super::received;

/// Class, weight and body size.
const BEFORE: [u8; 12] = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The input is the flags and the properties of a content header, as they come over the wire.
pub(crate) fn properties(input: &[u8]) {
    let payload = [&BEFORE[..], input].concat();
    for frame_max in [4096, 131_072] {
        let cleaned = cleaned(&payload, frame_max);
        assert_eq!(cleaned[..12], BEFORE);
        if is_readable(&payload) && payload.len() + AROUND + 512 <= frame_max as usize {
            assert_eq!(cleaned.len(), payload.len(), "what can be read and fits keeps its length");
        }
        let (_, read) = parse_properties(&cleaned[BEFORE.len()..]).expect("the library can read whatever comes");
        message(&read, frame_max);
        without_its_body(input, frame_max);
    }
}

/// The same before a body that is left out.
fn without_its_body(input: &[u8], frame_max: u32) {
    let long = [&BEFORE[..11], &[100], input].concat();
    let cleaned = cleaned(&long, frame_max);
    assert_eq!(cleaned[..12], BEFORE, "no body is announced");
    let (_, read) = parse_properties(&cleaned[BEFORE.len()..]).expect("the library can read whatever comes");
    assert_eq!(received::header_text(&read, BODY_LEFT_OUT).as_deref(), Some("100"));
}

/// What the library is given of a content header that comes in two pieces.
fn cleaned(payload: &[u8], frame_max: u32) -> Vec<u8> {
    let size = u32::try_from(payload.len()).expect("a short input").to_be_bytes();
    let frame = [&[2, 0, 1][..], &size, payload, &[0xce]].concat();
    let mut frames = Frames::new(frame_max, 10);
    let (first, second) = frame.split_at(frame.len() / 2);
    frames.take(first);
    frames.take(second);
    let mut given = vec![0; frame.len() + 200];
    let length = frames.give(&mut given);
    assert!(length <= frame_max as usize, "{length} bytes are more than the library takes");
    let (head, size) = (&given[..3], u32::from_be_bytes([given[3], given[4], given[5], given[6]]));
    assert_eq!((head, size as usize, given[length - 1]), (&[2, 0, 1][..], length - AROUND, 0xce));
    given[7..length - 1].to_vec()
}

/// What is made of the properties.
fn message(read: &lapin::BasicProperties, frame_max: u32) {
    let own = "w".repeat(255);
    for own in [None, Some(own.as_str().into())] {
        let message = received::read(Vec::new(), read, own.as_ref());
        assert!(message.trace.tracestate.is_none() || message.trace.traceparent.is_some());
    }
    let added = [("x-asset-eraser-why", "because")];
    let copy = copied(read, &added, frame_max);
    assert!(copy.expiration().is_none() && copy.user_id().is_none());
    let again = copied(&copy, &added, frame_max);
    assert!(size(&copy) >= size(&again), "copies grow");
    let signed = signed(copy, &own.as_str().into(), Some(&own));
    let whole = BEFORE.len() + size(&signed) + AROUND;
    assert!(whole <= frame_max as usize, "a copy has a header of {whole} bytes");
}

/// Bytes on the wire.
fn size(properties: &lapin::BasicProperties) -> usize {
    let written = gen_properties(properties)(Vec::new().into());
    written.expect("the library can write what it read").write.len()
}
