use super::*;

/// Each row as `NUMBER TEXT`, or `NUMBER! PROBLEM`.
fn read(text: &str) -> Result<Vec<String>, String> {
    let mut seen = Vec::new();
    rows(text.as_bytes(), &mut |number, said| {
        seen.push(match said {
            Ok(said) => format!("{number} {}", object(&said)),
            Err(problem) => format!("{number}! {problem}"),
        });
        Ok(())
    })?;
    Ok(seen)
}

/// The rows begin like this, each of them.
fn assert_rows(text: &str, wanted: &[&str]) {
    let seen = read(text).unwrap();
    assert_eq!(seen.len(), wanted.len(), "{text:?}: {seen:?}");
    for (seen, wanted) in seen.iter().zip(wanted) {
        assert!(seen.starts_with(wanted), "{text:?}: {seen:?}");
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
    let seen = read(text).unwrap();
    assert_eq!(
        seen,
        [
            r#"2 {"asset_id":"a","reason":"one, two\nthree","case_id":"c","case_size":3,"dry_run":true}"#,
            r#"5 {"asset_id":"b","dry_run":false,"expect":{"name":"n"}}"#,
            r#"6 {"asset_id":"c","case_size":"x","dry_run":false}"#,
            "7! dry_run: must be true or false, in every line that has the column; it is empty",
            "8! has 1 columns, and the header 6; a text with a separator in it goes in quotes",
            r#"9 {"asset_id":"f","reason":"say \"no\"","dry_run":true}"#,
        ]
    );
}

#[test]
fn a_backup_is_true_or_false_or_not_said() {
    let seen = read("asset_id,backup\na,TRUE\nb,false\nc,\nd,yes\n").unwrap();
    let wanted =
        [r#"2 {"asset_id":"a","backup":true}"#, r#"3 {"asset_id":"b","backup":false}"#, r#"4 {"asset_id":"c"}"#];
    assert_eq!(seen[..3], wanted);
    assert!(seen[3].starts_with("5! backup: must be true or false"), "{seen:?}");
}

#[test]
fn a_quote_that_is_never_closed_takes_in_no_other_request() {
    for text in ["asset_id,reason\na,x\nb,\"y\nc,z\n", "asset_id,reason\na,x\nb,5\" disk\n"] {
        let seen = read(text).unwrap();
        assert!(seen.len() == 2 && seen[1].starts_with("3! has a quote (\") without its other"), "{seen:?}");
    }
}

#[test]
fn a_header_names_columns_that_there_are() {
    for (text, starts) in [
        ("asset-1\nasset-2\n", "line 1: asset-1: is not a column; the first line names the columns, out of request_id"),
        (
            "asset_id|reason\n",
            "line 1: asset_id|reason: is not a column; the first line names the columns, with commas",
        ),
        ("\n\nasset_id;reason,case_id\n", "line 3: asset_id;reason: is not a column"),
        ("asset_id\u{200b},reason\n", "line 1: asset_id<U+200B>: is not a column"),
        ("Asset ID,asset_id\n", "line 1: asset_id: stands twice"),
        ("asset_id,\"reason\n", "line 1: has a quote"),
        ("sep=;\n", "line 1: asset_id: is missing"),
        ("asset_id,dryrun\n", "line 1: dryrun: is not a column"),
        ("asset_id,expect\n", "line 1: expect: is not a column"),
        ("asset_id,reason,asset_id\n", "line 1: asset_id: stands twice"),
        ("reason\n", "line 1: asset_id: is missing"),
        ("", "line 1: asset_id: is missing"),
    ] {
        let problem = read(text).unwrap_err();
        assert!(problem.starts_with(starts), "{problem}");
    }
}

#[test]
fn a_stray_quote_loses_no_row() {
    for (text, wanted) in [
        (
            "a-1,\"urgent|a-2,see \"note|a-3,z|",
            &["2! has a quote (\") that opens a text over several lines, and line 3 has a quote", "4 "][..],
        ),
        (
            "a-1,\"urgent|a-2,see\"|a-3,z|",
            &["2! has a text in quotes (\") over several lines, and line 3 could be", "4 "],
        ),
        ("a-1,\"urgent|a-2\"|", &["2! has a text in quotes (\") over several lines, and line 3 could be"]),
        ("a-1,\"urgent|x|a-3,see\"|", &["2! has a text in quotes (\") over several lines, and line 4 could be"]),
        ("a-1,5\" disk|a-2,z|", &["2! has a quote (\") without its other", "3 "]),
        ("a-1,see \"note\" there|", &["2! has a quote (\") without its other"]),
        ("a-1,\"x\" y|a-2,z|", &["2! has a quote (\") without its other", "3 "]),
        ("a-1, \"x\"|", &["2! has a quote (\") without its other"]),
        ("a-1,x|a-2,\"y|a-3,z|", &["2 ", "3! has a quote (\") without its other"]),
        ("\"a-1|a-2\",z|", &["2! asset_id: has a line break, and no asset_id has one; it is a-1<U+000"]),
    ] {
        for end in ["\n", "\r\n", "\r"] {
            assert_rows(&format!("asset_id,reason|{text}").replace('|', end), wanted);
        }
    }
    let swallowed = "reason,asset_id\n\"urgent,a-1\nsee\",a-2\n";
    assert_rows(swallowed, &["2! has a text in quotes (\") over several lines, and line 3 could be a row"]);
}

#[test]
fn a_text_over_several_lines_is_one_text_where_no_line_could_be_a_row() {
    assert_rows(
        "reason,asset_id\r\n\"urgent\r\nand \"\"more\"\"\",a-1\r\n\r\n\"x\",a-2",
        &[r#"2 {"reason":"urgent\r\nand \"more\"","asset_id":"a-1"}"#, r#"5 {"reason":"x","asset_id":"a-2"}"#],
    );
    assert_rows("asset_id,reason\na-1,\"one\ntwo\"\n", &[r#"2 {"asset_id":"a-1","reason":"one\ntwo"}"#]);
}

#[test]
fn what_a_spreadsheet_adds_is_no_row_and_no_column() {
    assert_rows(
        "\n Asset ID ,REASON,,\n,,,\n\n  \na-1,x,,,,\n\"\",\"\"\na-2,y\n \t,\n",
        &[r#"6 {"asset_id":"a-1","reason":"x"}"#, r#"8 {"asset_id":"a-2","reason":"y"}"#],
    );
    assert_rows(
        "asset_id,,reason\na-1,,x\na-2,lost,y\na-3,,z,more\n,,z\n",
        &[
            r#"2 {"asset_id":"a-1","reason":"x"}"#,
            "3! column 2 has no name in the header; it is lost",
            "4! has 4 columns, and the header 3",
            r#"5 {"reason":"z"}"#,
        ],
    );
}

#[test]
fn semicolons_and_tabs_separate_where_the_header_has_them() {
    for text in [
        "asset_id;reason|a-1;x, y|",
        "asset_id\treason|a-1\tx, y|",
        "sep=;|asset_id;reason|a-1;x, y|",
        "sep=,|asset_id,reason|a-1,\"x, y\"|",
    ] {
        let seen = read(&text.replace('|', "\n")).unwrap();
        assert!(seen.len() == 1 && seen[0].ends_with(r#" {"asset_id":"a-1","reason":"x, y"}"#), "{seen:?}");
    }
    assert_rows("asset_id;reason\na-1,x\n", &["2! has 1 columns, and the header 2"]);
}

#[test]
fn a_header_in_the_middle_is_no_request() {
    for again in ["asset_id,reason", "Reason,Asset_ID", "asset_id,"] {
        assert_rows(&format!("asset_id,reason\na-1,x\n{again}\na-2,y\n"), &["2 ", "3! names the columns once", "4 "]);
    }
    assert_rows("asset_id,reason\n\u{feff}asset_id,reason\n", &["2! begins with a byte order mark (U+FEFF)"]);
    assert_rows("asset_id,reason\nreason,\n", &[r#"2 {"asset_id":"reason"}"#]);
}

#[test]
fn characters_that_no_cell_has_are_named() {
    assert_rows(
        "asset_id,reason\na-1,x\0\na-2,x\u{1a}\na-3,x\u{b}y\na-4,x\u{2028}y\na-5,x\ty\u{a0}z\na-6,x\u{feff}y\n",
        &[
            "2! has U+0000 as character 6",
            "3! reason: has the character U+001A, which no text has; it is x<U+001A>",
            "4! reason: has the character U+000B, which no text has; it is x<U+000B>y",
            "5! reason: has the character U+2028, which no text has; it is x<U+2028>y",
            "6 {\"asset_id\":\"a-5\",\"reason\":\"x\\ty\u{a0}z\"}",
            "7! reason: has the character U+FEFF, which no text has; it is x<U+FEFF>y",
        ],
    );
}

#[test]
fn spaces_around_a_cell_count_only_where_its_text_is_passed_through() {
    assert_rows(
        "asset_id,case_id,reason,dry_run\n a-1 , c , x ,\tTRUE\n",
        &[r#"2 {"asset_id":"a-1","case_id":"c","reason":" x ","dry_run":true}"#],
    );
}

#[test]
fn quotes_of_word_processors_do_not_hide_a_separator() {
    for (cells, is_read) in [
        ("“urgent, now”,", false),
        ("«urgent, now»,", false),
        ("‘urgent, now’,", false),
        ("'urgent, now',", false),
        ("“urgent”,don’t", true),
        ("the Jones’ file,", true),
    ] {
        let seen = read(&format!("asset_id,reason,requested_by,case_id\na-1,{cells}c\n")).unwrap();
        assert_eq!(!seen[0].starts_with("2! reason: has one of a pair of quotes"), is_read, "{seen:?}");
    }
}
