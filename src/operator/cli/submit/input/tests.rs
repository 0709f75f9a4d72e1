use super::*;
use crate::operator::cli::submit::draft::object;

/// Each line as `NUMBER TEXT`, or `NUMBER! PROBLEM`.
fn read(text: &[u8], format: Format) -> Result<Vec<String>, String> {
    let mut seen = Vec::new();
    lines(text, format, &mut |number, said| {
        seen.push(match said {
            Ok(said) => format!("{number} {}", object(&said)),
            Err(problem) => format!("{number}! {problem}"),
        });
        Ok(())
    })?;
    Ok(seen)
}

#[test]
fn a_line_that_is_no_asset_id_but_something_else_is_told_so() {
    let text = b"\xef\xbb\xbfa\r\n\n  b \n{\"asset_id\":\"c\"}\nasset_id\nc,d\n\xff\ne";
    let seen = read(text, Format::Plain).unwrap();
    assert_eq!(seen[..2], [r#"1 {"asset_id":"a"}"#, r#"3 {"asset_id":"b"}"#]);
    for (line, starts) in seen[2..].iter().zip([
        "4! is no asset ID but a JSON object; say --format ndjson",
        "5! looks like CSV",
        "6! looks like CSV",
        "7! is not UTF-8",
        r#"8 {"asset_id":"e"}"#,
    ]) {
        assert!(line.starts_with(starts), "{line}");
    }
}

#[test]
fn a_plain_line_that_is_a_header_in_other_letters_is_no_asset() {
    assert!(read(b"Asset_ID\na\n", Format::Plain).unwrap()[0].starts_with("1! looks like CSV"));
}

#[test]
fn every_line_end_and_utf16_are_read_in_each_format() {
    for (text, format) in [
        ("a|b|", Format::Plain),
        ("asset_id|a||b", Format::Csv),
        ("{\"asset_id\":\"a\"}||{\"asset_id\":\"b\"}|", Format::Ndjson),
    ] {
        for end in ["\n", "\r\n", "\r"] {
            let text = text.replace('|', end);
            let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
            for bytes in [text.as_bytes(), &utf16] {
                let seen = read(bytes, format).unwrap();
                let said: Vec<&str> = seen.iter().map(|line| line.split_once(' ').unwrap().1).collect();
                assert_eq!(said, [r#"{"asset_id":"a"}"#, r#"{"asset_id":"b"}"#], "{text:?}");
            }
        }
    }
}

#[test]
fn an_object_that_is_not_one_object_of_one_line_is_named() {
    let text = "{\"asset_id\":\"a\"}{\"asset_id\":\"b\"}\n\
        {\"asset_id\":null,\"asset_id\":\"b\"}\n\
        {\"asset_id\":\"a\",\"rea\u{200b}son\":null}\n\
        \u{feff}{\"asset_id\":\"a\"}\n\
        {\"asset_id\":\n\"a\"}\n\
        {\"asset_id\":\"a\tb\"}\n";
    let seen = read(text.as_bytes(), Format::Ndjson).unwrap();
    let wanted = [
        "1! is not valid JSON: trailing characters at column 17; each object goes on a line of its own",
        "2! asset_id: stands twice",
        "3! rea<U+200B>son: is not a field of a request; the fields are request_id",
        "4! begins with a byte order mark (U+FEFF), as where two files were joined",
        "5! is not valid JSON: EOF while parsing a value at column 12",
        "6! must be a JSON object",
        "7! is not valid JSON: control character",
    ];
    for (seen, starts) in seen.iter().zip(wanted) {
        assert!(seen.starts_with(starts), "{seen}");
    }
    assert_eq!(seen.len(), wanted.len());
}

#[test]
fn a_line_without_an_end_is_not_read_to_its_end() {
    for (start, format, line) in
        [(&b"asset_id\na\n\"b"[..], Format::Csv, 3), (b"a\n", Format::Plain, 2), (b"\n{\"", Format::Ndjson, 2)]
    {
        let problem = lines(start.chain(io::repeat(b'x')), format, &mut |_, _| Ok(())).unwrap_err();
        assert!(problem.starts_with(&format!("line {line}: is longer than 262144 bytes")), "{problem}");
    }
}

#[test]
fn a_file_is_read_as_its_name_says() {
    let input = |assets: &[&str], file: Option<&str>, format| {
        let assets: Vec<String> = assets.iter().map(ToString::to_string).collect();
        Input::new(&assets, file.map(Path::new), format)
    };
    assert_eq!(input(&["a"], None, None), Ok(Input::Arguments(vec!["a".into()])));
    assert_eq!(input(&["-"], None, None), Ok(Input::Stdin(Format::Plain)));
    assert_eq!(input(&[], Some("-"), Some(Format::Csv)), Ok(Input::Stdin(Format::Csv)));
    for (name, format) in
        [("x.CSV", Format::Csv), ("x.tsv", Format::Csv), ("x.jsonl", Format::Ndjson), ("a.b/x.txt", Format::Plain)]
    {
        assert_eq!(input(&[], Some(name), None), Ok(Input::File(name.into(), format)));
    }
    for (assets, file, format) in
        [(&[][..], None, None), (&[], Some("x.xlsx"), None), (&["a"], None, Some(Format::Csv))]
    {
        assert!(input(assets, file, format).is_err());
    }
}
