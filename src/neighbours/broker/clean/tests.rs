use lapin::types::AMQPValue;

use super::properties::LEFT_OUT;
use super::rest::MOST_NESTED;
use super::*;

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 0, 1][..], &long(payload), &[0xce]].concat()
}

fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
    frame(CONTENT_HEADER, &[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], &flags.to_be_bytes(), properties].concat())
}

/// What comes out when these bytes come in pieces of this length.
fn cleaned(bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut frames, mut out) = (Frames::new(1_000_000, u64::MAX), Vec::new());
    for come in bytes.chunks(piece) {
        frames.take(come);
        let mut to = [0; 100];
        while let given @ 1.. = frames.give(&mut to) {
            out.extend_from_slice(&to[..given]);
        }
    }
    out
}

const ALL_BUT_CLUSTER_ID: u16 = 0b1111_1111_1111_1000;

/// Every property, `text` wherever there is one, and `value` in a table.
fn full(text: &[u8], value: &[u8]) -> Vec<u8> {
    let text = short(text);
    let table = long(&[&text[..], value].concat());
    let before = [&text[..], &text, &table, &[2, 9], &text, &text, &text, &text].concat();
    header(ALL_BUT_CLUSTER_ID, &[&before[..], &[0; 8], &text, &text, &text].concat())
}

#[test]
fn what_is_readable_goes_through_as_it_is_in_whatever_pieces_it_comes() {
    let mut values = Vec::new();
    for (kind, length) in [(b'V', 0), (b't', 1), (b's', 2), (b'I', 4), (b'D', 5), (b'l', 8), (b'T', 8)] {
        values.extend([&[kind][..], &vec![0xff; length]].concat());
    }
    values.extend([&b"S"[..], &long(b"\xff\xfe")].concat());
    let value = [&b"A"[..], &long(&values)].concat();
    let stream = [
        frame(1, b"a method"),
        full("text, ä".as_bytes(), &value),
        frame(3, &[0xff; 500]),
        frame(8, b""),
        header(0, b""),
        full(b"", b"V"),
    ]
    .concat();
    for piece in [1, 2, 7, 100, stream.len()] {
        assert!(cleaned(&stream, piece) == stream, "in pieces of {piece}");
    }
}

#[test]
fn a_text_that_is_none_is_substituted_byte_by_byte_wherever_it_stands() {
    let value = |key: &[u8]| [&b"F"[..], &long(&[short(key), b"V".to_vec()].concat())].concat();
    let (bad, good) = (b"a\xff\xc3\x28", b"a\x1a\x1a\x28");
    assert!(cleaned(&full(bad, &value(bad)), 64) == full(good, &value(good)));
}

#[test]
fn what_is_nested_too_deeply_becomes_bytes_of_the_same_length() {
    let nested = |depth: usize| (0..depth).fold(b"V".to_vec(), |inner, _| [&b"A"[..], &long(&inner)].concat());
    let fine = full(b"n", &nested(MOST_NESTED.into()));
    assert!(cleaned(&fine, 512) == fine);
    let deep = full(b"n", &nested(20_000));
    let out = cleaned(&deep, 512);
    let changed: Vec<_> = deep.iter().zip(&out).filter(|(before, after)| before != after).collect();
    assert_eq!((out.len(), changed), (deep.len(), vec![(&b'A', &b'x')]));
}

/// The frames of a stream: type and payload.
fn frames(mut stream: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = stream.split_first_chunk::<FRAME_HEAD>() {
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        assert_eq!(rest[size], 0xce);
        frames.push((head[0], &rest[..size]));
        stream = &rest[size + 1..];
    }
    assert_eq!(stream, b"", "a frame without its end");
    frames
}

/// What the headers of a cleaned content header say.
fn headers(payload: &[u8]) -> lapin::types::FieldTable {
    let (_, read) = lapin::protocol::basic::parse_properties(&payload[properties::BEFORE_FLAGS..]).unwrap();
    read.headers().clone().unwrap()
}

fn names(payload: &[u8]) -> Vec<String> {
    headers(payload).inner().keys().map(ToString::to_string).collect()
}

#[test]
fn every_frame_comes_out_readable_whatever_the_bytes_are() {
    let mut bytes = full(b"n", b"V");
    for at in 0..bytes.len() {
        // Lengths that say too much or too little, types that do not exist; but for the frame's own length and end.
        if at < FRAME_HEAD || at + 1 == bytes.len() {
            continue;
        }
        for wrong in [0, 1, 0x7f, 0xff] {
            let was = std::mem::replace(&mut bytes[at], wrong);
            let stream = cleaned(&[&bytes[..], &frame(3, b"the next")].concat(), 64);
            let frames = frames(&stream);
            assert_eq!((frames.len(), frames[1]), (2, (3, &b"the next"[..])), "{wrong} at {at}");
            headers(frames[0].1);
            bytes[at] = was;
        }
    }
}

#[test]
fn what_can_not_be_followed_to_its_end_loses_its_properties_and_keeps_its_size() {
    for unreadable in [&b"\x05id"[..], b"\x02idtrailing"] {
        let cleaned = cleaned(&header(1 << 7, unreadable), 5);
        let frames = frames(&cleaned);
        assert_eq!(frames[0].1[..12], [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(names(frames[0].1), [LEFT_OUT]);
    }
}

#[test]
fn the_largest_headers_are_left_out_of_a_frame_that_is_too_large() {
    let text = |name: &str, length: usize| [&short(name.as_bytes())[..], b"S", &long(&vec![b'v'; length])].concat();
    let count = [&short(b"x-delivery-count")[..], b"l", &[0; 8]].concat();
    let all = |extra: &[u8]| {
        let table = [text("c", 3), text("b", 100_000), text("a", 31_000), extra.to_vec()].concat();
        // Headers, and a message ID that comes after them.
        header(1 << 13 | 1 << 7, &[long(&table), short(b"id")].concat())
    };
    for (extra, kept) in [(&b""[..], &["a", "c", LEFT_OUT][..]), (&count, &["a", "c", LEFT_OUT, "x-delivery-count"])] {
        let (mut frames, mut given) = (Frames::new(131_072, u64::MAX), vec![0; 200_000]);
        frames.take(&all(extra));
        let length = frames.give(&mut given);
        assert!(length <= 131_072, "{length}");
        let payload = &super::tests::frames(&given[..length])[0].1;
        assert_eq!(names(payload), kept);
        let said = AMQPValue::LongString("1 header of 100007 bytes, too large to be read".into());
        assert_eq!(headers(payload).inner()[LEFT_OUT], said);
        assert!(payload.ends_with(b"\x02id"));
    }
}

#[test]
fn a_frame_may_be_as_large_as_the_broker_offers_and_was_asked_for() {
    let tune = |offered: u32| frame(1, &[&[0, 10, 0, 30, 0, 9][..], &offered.to_be_bytes(), &[0, 60]].concat());
    let with = |size: usize| header(1 << 13, &long(&[&short(b"a")[..], b"S", &long(&vec![b'v'; size])].concat()));
    for (asked, offered, fits) in [(131_072, 8192, 7000), (8192, 131_072, 7000), (8192, 0, 7000), (131_072, 1, 3000)] {
        for (size, kept) in [(fits, "a"), (fits + 1200, LEFT_OUT)] {
            let (mut frames, mut given) = (Frames::new(asked, u64::MAX), vec![0; 10_000]);
            frames.take(&[tune(offered), with(size)].concat());
            let length = frames.give(&mut given);
            assert_eq!(names(super::tests::frames(&given[..length])[1].1), [kept], "{asked}, {offered}");
        }
    }
}

#[test]
fn a_header_that_is_too_long_to_be_held_is_left_out_as_it_comes() {
    let before = [&[0, 60, 0, 0][..], &9_u64.to_be_bytes()].concat();
    let size = LONGEST_HELD * 2;
    let mut stream = [&[CONTENT_HEADER, 0, 1][..], &u32::try_from(size).unwrap().to_be_bytes(), &before].concat();
    stream.resize(FRAME_HEAD + size, 0xff);
    stream.push(0xce);
    stream.extend(frame(3, b"the next"));
    let mut all = Frames::new(131_072, u64::MAX);
    for piece in stream.chunks(100_000) {
        all.take(piece);
        assert!(all.bytes.len() < 200_000, "{} bytes are held", all.bytes.len());
    }
    let mut given = vec![0; 1000];
    let length = all.give(&mut given);
    let frames = frames(&given[..length]);
    assert_eq!(
        (names(frames[0].1), &frames[0].1[..12], frames[1].1),
        (vec![LEFT_OUT.to_owned()], &before[..], &b"the next"[..])
    );
}

#[test]
fn names_and_routing_keys_of_methods_are_made_texts() {
    let (bad, good) = (short(b"\xffk"), short(b"\x1ak"));
    let tag = [&[0; 8][..], &[1]].concat();
    let deliver =
        |key: &[u8]| frame(1, &[&[0, 60, 0, 60][..], &short(b"consumer"), &tag, &short(b"exchange"), key].concat());
    let got = |key: &[u8]| frame(1, &[&[0, 60, 0, 71][..], &tag, &short(b""), key, &[0, 0, 0, 9]].concat());
    let returned =
        |key: &[u8]| frame(1, &[&[0, 60, 0, 50, 1, 56][..], &short(b"NO_ROUTE"), &short(b"e"), key].concat());
    let closed = |text: &[u8]| frame(1, &[&[0, 20, 0, 40, 1, 147][..], text, &[0, 60, 0, 40]].concat());
    let blocked = |text: &[u8]| frame(1, &[&[0, 10, 0, 60][..], text].concat());
    for method in [&deliver as &dyn Fn(&[u8]) -> Vec<u8>, &got, &returned, &closed, &blocked] {
        assert!(cleaned(&method(&bad), 3) == method(&good));
        assert!(cleaned(&method(&good), 3) == method(&good));
    }
}

#[test]
fn a_body_that_is_too_long_is_left_out_and_the_rest_of_its_message_stays() {
    let on = |channel: u8, mut frame: Vec<u8>| {
        frame[2] = channel;
        frame
    };
    let sized = |flags: u16, properties: &[u8], size: u64| {
        let mut frame = header(flags, properties);
        frame[FRAME_HEAD + 4..FRAME_HEAD + 12].copy_from_slice(&size.to_be_bytes());
        frame
    };
    let table = long(&[&short(b"a")[..], b"V"].concat());
    let texts = [short(b"text/plain"), short(b"gzip")].concat();
    let id = short(b"id");
    for (flags, properties, kept) in [
        (0, vec![], vec![]),
        (1 << 7, id.clone(), vec![]),
        (3 << 14 | 1 << 7, [&texts[..], &id].concat(), vec![]),
        (1 << 14 | 1 << 7, [&short(b"gzip")[..], &id].concat(), vec![]),
        (7 << 13 | 1 << 7, [&texts[..], &table, &id].concat(), vec!["a".to_owned()]),
    ] {
        let stream = [
            on(1, sized(flags, &properties, 1_000)),
            on(1, frame(BODY, &[0xff; 600])),
            on(2, sized(0, b"", 3)),
            on(2, frame(BODY, b"fit")),
            on(1, frame(BODY, &[0xff; 400])),
            on(1, sized(0, b"", 2)),
            on(1, frame(BODY, b"ok")),
        ]
        .concat();
        let (mut all, mut given) = (Frames::new(131_072, 10), vec![0; 1_000]);
        stream.chunks(13).for_each(|piece| all.take(piece));
        let length = all.give(&mut given);
        let frames = frames(&given[..length]);
        let bodies: Vec<&[u8]> = frames.iter().filter(|frame| frame.0 == BODY).map(|frame| frame.1).collect();
        assert_eq!(bodies, [b"fit", &b"ok"[..]]);
        let (first, said) = (frames[0].1, AMQPValue::LongString("1000".into()));
        assert_eq!((properties::body_size(first), &headers(first).inner()[BODY_LEFT_OUT]), (0, &said));
        let mut names = names(first);
        names.retain(|name| name != BODY_LEFT_OUT);
        assert_eq!(names, kept);
        let (_, read) = lapin::protocol::basic::parse_properties(&first[12..]).unwrap();
        assert_eq!(read.message_id().is_some(), flags & 1 << 7 != 0);
        assert_eq!(read.content_encoding().is_some(), flags & 1 << 14 != 0);
    }
}
