use super::*;

fn decode(body: &str) -> Result<Request, Box<Unreadable>> {
    Request::decode(Envelope { body: body.as_bytes(), ..Envelope::default() })
}

fn problem(body: &str) -> String {
    decode(body).expect_err(body).problem
}

#[test]
fn the_smallest_request_has_safe_defaults() {
    let request = decode(r#"{"request_id":"r1","asset_id":"a1"}"#).unwrap();
    assert_eq!(
        (request.on_in_use, request.dry_run, request.backup, request.deadline, request.expect),
        (OnInUse::Wait, false, None, None, None)
    );
}

#[test]
fn every_broken_rule_names_its_field() {
    for (body, field) in [
        ("[]", "body: must be a JSON object"),
        ("{", "body: is not valid JSON"),
        (r#"{"asset_id":"a"}"#, "request_id: is missing"),
        (r#"{"request_id":"r"}"#, "asset_id: is missing"),
        (r#"{"request_id":7,"asset_id":"a"}"#, "request_id: must be a string"),
        (r#"{"request_id":"r","asset_id":"../upload"}"#, "asset_id: may hold only"),
        (r#"{"request_id":"r","asset_id":"a","dryrun":true}"#, "dryrun: is not a field"),
        (r#"{"request_id":"r","asset_id":"a","asset_id":"b"}"#, "asset_id: stands twice"),
        (r#"{"request_id":"r","request_id":"s","asset_id":"b"}"#, "request_id: stands twice"),
        (r#"{"request_id":"r","asset_id":"a","dry_run":null}"#, "dry_run: must be"),
        (r#"{"request_id":"r","asset_id":"a","dry_run":"true"}"#, "dry_run: must be"),
        (r#"{"request_id":"r","asset_id":"a","backup":null}"#, "backup: must be"),
        (r#"{"request_id":"r","asset_id":"a","backup":1}"#, "backup: must be"),
        (r#"{"request_id":"r","asset_id":"a","on_in_use":"ignore"}"#, "on_in_use: must be"),
        (r#"{"request_id":"r","asset_id":"a","deadline":"tomorrow"}"#, "deadline: must be"),
        (r#"{"request_id":"r","asset_id":"a","deadline":"2026-11-24"}"#, "deadline: must be"),
        (r#"{"request_id":"r","asset_id":"a","reason":5}"#, "reason: must be a string"),
        (r#"{"request_id":"r","asset_id":"a","case_id":7}"#, "case_id: must be a string"),
        (r#"{"request_id":"r","asset_id":"a","case_id":"a\u0000b"}"#, "case_id: may hold no control"),
        (r#"{"request_id":"r","asset_id":"a","case_size":7}"#, "case_size: needs a case_id"),
        (r#"{"request_id":"r","asset_id":"a","case_id":"c","case_size":0}"#, "case_size: must be a whole"),
        (r#"{"request_id":"r","asset_id":"a","case_id":"c","case_size":1000001}"#, "case_size: must be a whole"),
        (r#"{"request_id":"r","asset_id":"a","case_id":"c","case_size":"7"}"#, "case_size: must be a whole"),
        (r#"{"request_id":"r","asset_id":"a","case_id":"c","case_size":1.5}"#, "case_size: must be a whole"),
        (r#"{"request_id":"r","asset_id":"a","expect":["Image"]}"#, "expect: must be a JSON object"),
        (r#"{"request_id":"r","asset_id":"a","expect":{}}"#, "expect: must hold"),
        (r#"{"request_id":"r","asset_id":"a","expect":{"type":"Image"}}"#, "expect.type: is not a field"),
        (r#"{"request_id":"r","asset_id":"a","expect":{"name":"x","name":"y"}}"#, "expect.name: stands twice"),
    ] {
        assert!(problem(body).starts_with(field), "{body}: {}", problem(body));
    }
}

#[test]
fn a_readable_request_id_survives_another_bad_field() {
    let bad = decode(r#"{"request_id":"r","asset_id":"a/b","case_id":"c","case_size":3}"#).unwrap_err();
    assert_eq!(bad.request_id.unwrap().as_str(), "r");
    let case_id = bad.labels.case_id.as_ref().map(CaseId::as_str);
    assert_eq!((bad.asset_id, case_id, bad.labels.case_size), (None, Some("c"), Some(3)));
    for body in [
        r#"{"request_id":"r","request_id":"s","asset_id":"b"}"#,
        r#"{"asset_id":"a","asset_id":"b","request_id":"r","request_id":"s"}"#,
    ] {
        let twice = Envelope { body: body.as_bytes(), message_id: Some("m"), ..Envelope::default() };
        assert_eq!(Request::decode(twice).unwrap_err().request_id, None, "{body}");
    }
}

#[test]
fn a_name_is_told_in_a_few_plain_characters_whatever_it_is() {
    for (name, told) in [
        ("", "\"\": is not a field"),
        (r"a\nb", r#""a\nb": is not a field"#),
        (&*"x".repeat(60_000), &*format!("\"{}\"…: is not a field", "x".repeat(64))),
    ] {
        let body = format!(r#"{{"request_id":"r","asset_id":"a","{name}":1}}"#);
        assert!(problem(&body).starts_with(told), "{}", problem(&body));
    }
}

#[test]
fn size_and_encoding_are_limited() {
    let big = format!(r#"{{"request_id":"r","asset_id":"a","reason":"{}"}}"#, "x".repeat(MAX_BODY));
    assert!(problem(&big).starts_with("body: is "));
    for name in ["reason", "requested_by"] {
        let with = |length| format!(r#"{{"request_id":"r","asset_id":"a","{name}":"{}"}}"#, "ä".repeat(length));
        assert!(decode(&with(MAX_TEXT)).is_ok());
        assert_eq!(problem(&with(MAX_TEXT + 1)), format!("{name}: is 4097 characters long; at most 4096 are allowed"));
        // The answer is kept as well, and does not repeat it.
        assert_eq!(decode(&with(MAX_TEXT + 1)).unwrap_err().labels, Labels::default());
    }
    let bad = Request::decode(Envelope { body: b"{\"request_id\":\"\xff\"}", ..Envelope::default() });
    assert!(bad.unwrap_err().problem.starts_with("body: is not UTF-8"));
}

#[test]
fn a_cloud_event_carries_the_request_in_data_and_lends_its_id() {
    let event = |body: &str, message_id| {
        let content_type = Some("application/cloudevents+json; charset=utf-8");
        Request::decode(Envelope { body: body.as_bytes(), content_type, message_id, ..Envelope::default() })
    };
    let body = r#"{"specversion":"1.0","id":"ce-1","source":"/x","type":"t","extra":1,"data":{"asset_id":"a"}}"#;
    assert_eq!(event(body, None).unwrap().request_id.as_str(), "ce-1");
    assert_eq!(event(body, Some("m-1")).unwrap().request_id.as_str(), "m-1");
    for (bad, field) in [
        (r#"{"specversion":"0.3","id":"i","source":"s","type":"t","data":{}}"#, "CloudEvent specversion"),
        (r#"{"specversion":"1.0","source":"s","type":"t","data":{}}"#, "CloudEvent id"),
        (r#"{"specversion":"1.0","id":"i","source":"s","type":"t"}"#, "CloudEvent data: is missing"),
        (r#"{"specversion":"1.0","id":"i","source":"s","type":"t","data":[]}"#, "CloudEvent data: must be"),
    ] {
        assert!(event(bad, None).unwrap_err().problem.starts_with(field), "{bad}");
    }
    assert!(problem(body).contains("needs the AMQP content_type"));
}

#[test]
fn a_message_without_fields_has_the_name_of_its_message() {
    let bodies = ["", "[]", "null", "7", "\"r\"", "not json", "{", "[{\"request_id\":\"r\"}]", "\u{feff}\u{feff}{}"];
    let too_long = " ".repeat(MAX_BODY + 1);
    for body in bodies.map(str::as_bytes).into_iter().chain([&b"\xff\xfe"[..], too_long.as_bytes()]) {
        for content_type in [None, Some("application/cloudevents+json")] {
            let named = |message_id| {
                Request::decode(Envelope { body, content_type, message_id, ..Envelope::default() }).unwrap_err()
            };
            let bad = named(Some("m-1"));
            assert_eq!(bad.request_id.as_ref().map(RequestId::as_str), Some("m-1"), "{body:?}");
            assert!(bad.problem.starts_with("body: "), "{}", bad.problem);
            for no_name in [None, Some(""), Some("a b"), Some("\u{1a}")] {
                assert_eq!(named(no_name).request_id, None, "{body:?} {no_name:?}");
            }
        }
    }
}

#[test]
fn a_cloud_event_without_a_request_lends_its_id_unless_the_request_has_its_own() {
    let name = |body: &str, message_id| {
        let content_type = Some("application/cloudevents+json");
        let bad = Request::decode(Envelope { body: body.as_bytes(), content_type, message_id, ..Envelope::default() })
            .unwrap_err();
        bad.request_id.map(|id| id.as_str().to_owned())
    };
    let ce = |rest: &str| format!(r#"{{"specversion":"1.0","id":"ce-1","source":"s","type":"t"{rest}}}"#);
    for rest in ["", r#","data":[]"#, r#","data":null"#, r#","data":"x""#] {
        assert_eq!(name(&ce(rest), None).as_deref(), Some("ce-1"), "{rest}");
        assert_eq!(name(&ce(rest), Some("m-1")).as_deref(), Some("m-1"), "{rest}");
    }
    let own = r#"{"id":"ce-1","source":"s","type":"t","data":{"request_id":"r"}}"#;
    assert_eq!(name(own, Some("m-1")).as_deref(), Some("r"), "an older envelope, around a request with a name");
    assert_eq!(name(r#"{"id":"a","id":"b","data":{}}"#, None), None);
    let no_event = r#"{"request_id":"r","asset_id":"a"}"#;
    assert_eq!(name(no_event, Some("m-1")).as_deref(), Some("r"), "a request with the content type of an event");
}

#[test]
fn one_byte_order_mark_is_ignored() {
    let request = decode("\u{feff}{\"request_id\":\"r\",\"asset_id\":\"a\"}").unwrap();
    assert_eq!(request.request_id.as_str(), "r");
    assert!(problem("\u{feff}\u{feff}{\"request_id\":\"r\",\"asset_id\":\"a\"}").starts_with("body: must be"));
}
