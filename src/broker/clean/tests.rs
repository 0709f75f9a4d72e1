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
    let (mut frames, mut out) = (Frames::default(), Vec::new());
    for come in bytes.chunks(piece) {
        frames.take(come).unwrap();
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

#[test]
fn no_bytes_are_lost_or_waited_for_in_vain_whatever_they_are() {
    let mut bytes = full(b"n", b"V");
    for at in 0..bytes.len() {
        // Lengths that say too much or too little, types that do not exist; but for the frame's own length.
        if (FRAME_HEAD - 4..FRAME_HEAD).contains(&at) {
            continue;
        }
        for wrong in [0, 1, 0x7f, 0xff] {
            let was = std::mem::replace(&mut bytes[at], wrong);
            let stream = [&bytes[..], &frame(1, b"the next")].concat();
            assert_eq!(cleaned(&stream, 64).len(), stream.len(), "{wrong} at {at}");
            bytes[at] = was;
        }
    }
    let mut frames = Frames::default();
    let too_long = [&[CONTENT_HEADER, 0, 1][..], &[0x7f, 0xff, 0xff, 0xff]].concat();
    assert!(frames.take(&too_long).is_err());
}
