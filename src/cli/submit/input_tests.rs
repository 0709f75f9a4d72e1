use super::*;

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
fn csv_says_what_its_columns_say_and_an_empty_cell_says_nothing() {
    let text = "\u{feff}asset_id, reason,case_id,case_size,expect.name,dry_run\r\n\
        a,\"one, two\nthree\",c,3,,TRUE\r\n\
        \r\n\
        b,,,,n,false\r\n\
        c,,,x,,false\r\n\
        d,,,,,\r\n\
        e\r\n\
        f,\"say \"\"no\"\"\",,,,true";
    let seen = read(text.as_bytes(), Format::Csv).unwrap();
    assert_eq!(
        seen,
        [
            r#"2 {"asset_id":"a","reason":"one, two\nthree","case_id":"c","case_size":3,"dry_run":true}"#,
            r#"5 {"asset_id":"b","dry_run":false,"expect":{"name":"n"}}"#,
            r#"6 {"asset_id":"c","case_size":"x","dry_run":false}"#,
            "7! dry_run: must be true or false, in every line that has the column",
            "8! has 1 columns, and the header 6; a text with a comma in it goes in quotes",
            r#"9 {"asset_id":"f","reason":"say \"no\"","dry_run":true}"#,
        ]
    );
}

#[test]
fn a_backup_is_true_or_false_or_not_said() {
    let seen = read("asset_id,backup\na,TRUE\nb,false\nc,\nd,yes\n".as_bytes(), Format::Csv).unwrap();
    let wanted =
        [r#"2 {"asset_id":"a","backup":true}"#, r#"3 {"asset_id":"b","backup":false}"#, r#"4 {"asset_id":"c"}"#];
    assert_eq!(seen[..3], wanted);
    assert!(seen[3].starts_with("5! backup: must be true or false"), "{seen:?}");
}

#[test]
fn a_quote_that_is_never_closed_takes_in_no_other_request() {
    for text in ["asset_id,reason\na,x\nb,\"y\nc,z\n", "asset_id,reason\na,x\nb,5\" disk\n"] {
        let seen = read(text.as_bytes(), Format::Csv).unwrap();
        assert!(seen.len() == 2 && seen[1].starts_with("3! has a quote (\") without its other"), "{seen:?}");
    }
}

#[test]
fn a_header_names_columns_that_there_are() {
    for (text, starts) in [
        ("asset-1\nasset-2\n", "line 1: asset-1: is not a column; the first line names the columns, out of request_id"),
        (
            "asset_id;reason\n",
            "line 1: asset_id;reason: is not a column; the first line names the columns, with commas",
        ),
        ("asset_id,dryrun\n", "line 1: dryrun: is not a column"),
        ("asset_id,expect\n", "line 1: expect: is not a column"),
        ("asset_id,reason,asset_id\n", "line 1: asset_id: stands twice"),
        ("reason\n", "line 1: asset_id: is missing"),
        ("", "line 1: asset_id: is missing"),
    ] {
        let problem = read(text.as_bytes(), Format::Csv).unwrap_err();
        assert!(problem.starts_with(starts), "{problem}");
    }
}

#[test]
fn a_line_without_an_end_is_not_read_to_its_end() {
    struct Endless(&'static [u8], bool);
    impl Read for Endless {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(to.len());
            if std::mem::replace(&mut self.1, true) {
                to.fill(b'x');
                return Ok(to.len());
            }
            to[..length].copy_from_slice(&self.0[..length]);
            Ok(length)
        }
    }
    for (start, format, line) in
        [(&b"asset_id\na\n\"b"[..], Format::Csv, 3), (b"a\n", Format::Plain, 2), (b"\n{\"", Format::Ndjson, 2)]
    {
        let problem = lines(Endless(start, false), format, &mut |_, _| Ok(())).unwrap_err();
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
    for (name, format) in [("x.CSV", Format::Csv), ("x.jsonl", Format::Ndjson), ("a.b/x.txt", Format::Plain)] {
        assert_eq!(input(&[], Some(name), None), Ok(Input::File(name.into(), format)));
    }
    for (assets, file, format) in
        [(&[][..], None, None), (&[], Some("x.xlsx"), None), (&["a"], None, Some(Format::Csv))]
    {
        assert!(input(assets, file, format).is_err());
    }
}
