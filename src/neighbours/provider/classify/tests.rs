use super::*;
use crate::settings::Settings;

const SECOND: Duration = Duration::from_secs(1);

fn rules() -> Rules {
    rules_with("[]", &[])
}

/// Rules as an operator writes them, beside lists of codes.
fn rules_with(answers: &str, more: &[(&str, &str)]) -> Rules {
    let set = [
        ("PROVIDER__TOKEN", "very-secret-token"),
        ("PROVIDER__RETRY_CODES", "1002,busy"),
        ("PROVIDER__REFUSED_CODES", "1001"),
        ("PROVIDER__ANSWERS", answers),
    ];
    Rules::new(&Settings::with(&[&set, more].concat()).provider)
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, pause: None, origin: Origin::default(), body: Ok(body.as_bytes().to_vec()) }
}

fn later<T>(why: Fault) -> Meaning<T> {
    Meaning::Retry { after: None, why }
}

fn cat() -> Meaning<Detail> {
    Meaning::Found(Detail {
        name: Some("Cat".into()),
        asset_type: Some("Image".into()),
        created: Some("2026-03-30 14:21:58".into()),
        status: Some("Active".into()),
        url: AssetUrl::new("https://x"),
    })
}

#[test]
fn what_a_detail_answer_means() {
    const CAT: &str = r#"{"name":"Cat","assetId":"a-1","status":"Active","assetType":"Image","url":"https://x","createTime":"2026-03-30 14:21:58"}"#;
    let found = |code: &str| format!(r#"{{"code":{code},"msg":null,"data":{CAT}}}"#);
    let bare = Meaning::Found(Detail::default());
    let table: Vec<(u16, String, Meaning<Detail>)> = vec![
        (200, found("0"), cat()),
        (200, found("\"0\""), cat()),
        (201, found("0"), cat()),
        // What is not exactly the code 0 is never success.
        (200, found("0.0"), later(Fault::Unreadable)),
        (200, found("-0.0"), later(Fault::Unreadable)),
        (200, found("false"), later(Fault::Unreadable)),
        (200, found("null"), later(Fault::Unreadable)),
        (200, found("\"\""), later(Fault::Unreadable)),
        (200, found("\" 0\""), later(Fault::Unreadable)),
        (200, found("[0]"), later(Fault::Unreadable)),
        (200, found("{}"), later(Fault::Unreadable)),
        (200, found("\"00\""), Meaning::Unlisted),
        (200, found("200"), Meaning::Unlisted),
        (200, found("0,\"code\":0"), later(Fault::Unreadable)),
        (200, found("0,\"code\":-1"), later(Fault::Unreadable)),
        // The lists.
        (200, r#"{"code":-1,"msg":"x","data":null}"#.into(), Meaning::Gone),
        (200, r#"{"code":"-1"}"#.into(), Meaning::Gone),
        (200, r#"{"code":-1.0,"data":null}"#.into(), later(Fault::Unreadable)),
        (200, found("-1"), Meaning::Gone),
        (200, r#"{"code":1001}"#.into(), Meaning::Refused),
        (200, r#"{"code":"1002"}"#.into(), later(Fault::Code)),
        (200, r#"{"code":"busy"}"#.into(), later(Fault::Code)),
        (200, r#"{"code":18446744073709551615}"#.into(), Meaning::Unlisted),
        (200, r#"{"code":18446744073709551616}"#.into(), later(Fault::Unreadable)),
        // Code 0 without the asset says nothing, and least of all that the asset is gone.
        (200, r#"{"code":0,"msg":null,"data":null}"#.into(), later(Fault::Unreadable)),
        (200, r#"{"code":0}"#.into(), later(Fault::Unreadable)),
        (200, r#"{"code":0,"data":{}}"#.into(), later(Fault::Unreadable)),
        (200, r#"{"code":0,"data":[]}"#.into(), later(Fault::Unreadable)),
        (200, r#"{"code":0,"data":"a-1"}"#.into(), later(Fault::Unreadable)),
        (200, r#"{"code":0,"data":{"assetId":1}}"#.into(), later(Fault::Unreadable)),
        (200, r#"{"code":0,"data":{"assetId":"a-1","assetId":"a-1"}}"#.into(), later(Fault::Unreadable)),
        (200, r#"{"code":0,"data":{"assetId":"a-2"}}"#.into(), later(Fault::WrongAsset)),
        (200, r#"{"code":0,"data":{"assetId":"A-1"}}"#.into(), later(Fault::WrongAsset)),
        // An odd detail field does not hide that the asset exists.
        (200, r#"{"code":0,"data":{"assetId":"a-1"}}"#.into(), bare.clone()),
        (200, r#"{"code":0,"msg":[1],"data":{"assetId":"a-1","name":{},"status":null}}"#.into(), bare),
        // Not the documented object.
        (200, String::new(), later(Fault::Unreadable)),
        (200, "null".into(), later(Fault::Unreadable)),
        (200, "<html>".into(), later(Fault::Unreadable)),
        (200, "[]".into(), later(Fault::Unreadable)),
        // An array in the place of an object is none, whatever stands in it.
        (200, format!("[0,null,null,{CAT}]"), later(Fault::Unreadable)),
        (200, "[-1]".into(), later(Fault::Unreadable)),
        (200, r#"{"code":0,"data":["a-1"]}"#.into(), later(Fault::Unreadable)),
        (200, r#"{"code":-1"#.into(), later(Fault::Unreadable)),
        (200, r#"{"code":-1}{}"#.into(), later(Fault::Unreadable)),
        (204, String::new(), later(Fault::Unreadable)),
        // The HTTP status comes first: a code counts with 2xx only.
        (401, found("0"), Meaning::KeyRefused(401)),
        (403, r#"{"code":-1}"#.into(), Meaning::KeyRefused(403)),
        (404, r#"{"message":"No handler found for GET /x"}"#.into(), later(Fault::NoRoute)),
        (404, r#"{"code":-1}"#.into(), later(Fault::Status(404))),
        (410, r#"{"code":-1}"#.into(), later(Fault::Status(410))),
        (400, r#"{"code":1001}"#.into(), later(Fault::Status(400))),
        (429, r#"{"code":-1}"#.into(), later(Fault::TooMany(429))),
        (500, r#"{"code":-1}"#.into(), later(Fault::Status(500))),
        (503, found("0"), later(Fault::Status(503))),
        (302, found("0"), later(Fault::Status(302))),
        (304, String::new(), later(Fault::Status(304))),
    ];
    for (status, body, meaning) in table {
        assert_eq!(detail(&reply(status, &body), &rules(), "a-1").meaning, meaning, "{status} {body}");
    }
}

#[test]
fn what_a_delete_answer_means() {
    let table: Vec<(u16, &str, Meaning<()>)> = vec![
        (200, r#"{"code":"0","msg":"删除成功","data":null}"#, Meaning::Found(())),
        (200, r#"{"code":0,"msg":"success"}"#, Meaning::Found(())),
        (200, r#"{"msg":"success"}"#, later(Fault::Unreadable)),
        (200, r#"{"code":true}"#, later(Fault::Unreadable)),
        (200, r#"["0"]"#, later(Fault::Unreadable)),
        (200, r#"["-1"]"#, later(Fault::Unreadable)),
        (200, r#"{"code":"-1","msg":"success"}"#, Meaning::Gone),
        (200, r#"{"code":"1001"}"#, Meaning::Refused),
        (200, r#"{"code":"1002"}"#, later(Fault::Code)),
        (200, r#"{"code":"9"}"#, Meaning::Unlisted),
        (500, r#"{"code":"0"}"#, later(Fault::Status(500))),
        (404, r#"{"message":"No handler found for DELETE /x"}"#, later(Fault::NoRoute)),
        (409, "", Meaning::InUse),
        (423, r#"{"code":"0"}"#, Meaning::InUse),
        (420, "", later(Fault::TooMany(420))),
        (401, "", Meaning::KeyRefused(401)),
    ];
    for (status, body, meaning) in table {
        assert_eq!(delete(&reply(status, body), &rules(), "a-1").meaning, meaning, "{status} {body}");
    }
}

#[test]
fn what_a_job_answer_means() {
    use JobStatus::{Completed, Failed, Other, Processing, Queued};
    let table: Vec<(&str, Meaning<JobStatus>)> = vec![
        (r#"{"id":"j","object":"video","status":"queued","error":null}"#, Meaning::Found(Queued)),
        (r#"{"id":"j","status":"processing"}"#, Meaning::Found(Processing)),
        (r#"{"status":"completed"}"#, Meaning::Found(Completed)),
        (r#"{"status":"succeeded"}"#, Meaning::Found(Completed)),
        (r#"{"status":"running"}"#, Meaning::Found(Processing)),
        (r#"{"status":"CANCELLED"}"#, Meaning::Found(Failed)),
        (r#"{"status":"canceled"}"#, Meaning::Found(Failed)),
        (r#"{"status":"expired"}"#, Meaning::Found(Failed)),
        (r#"{"id":"j","status":"failed","data":null}"#, Meaning::Found(Failed)),
        (r#"{"id":"j","status":"Completed"}"#, Meaning::Found(Completed)),
        (r#"{"id":"j","status":"paused"}"#, Meaning::Found(Other("paused".into()))),
        (r#"{"code":0,"msg":null,"data":{"id":"j","status":"completed"}}"#, Meaning::Found(Completed)),
        (r#"{"code":"0","data":{"status":"completed"}}"#, Meaning::Found(Completed)),
        (r#"{"data":{"id":"j","status":"completed"}}"#, Meaning::Found(Completed)),
        (r#"{"id":"request-7","data":{"id":"j","status":"completed"}}"#, Meaning::Found(Completed)),
        (r#"{"status":"processing","data":{"id":"j","status":"completed"}}"#, later(Fault::Unreadable)),
        (r#"{"status":"completed","data":{"video_url":"x"}}"#, later(Fault::Unreadable)),
        (r#"{"code":-1,"status":"completed"}"#, Meaning::Gone),
        (r#"{"code":1001,"data":{"status":"completed"}}"#, Meaning::Refused),
        (r#"{"code":7,"data":{"status":"completed"}}"#, Meaning::Unlisted),
        (r#"{"code":0,"data":null}"#, later(Fault::Unreadable)),
        (r#"{"id":"k","status":"completed"}"#, later(Fault::WrongAsset)),
        (r#"{"id":7,"status":"completed"}"#, later(Fault::WrongAsset)),
        (r#"{"data":{"id":"k","status":"completed"}}"#, later(Fault::WrongAsset)),
        (r#"{"id":"j","status":""}"#, later(Fault::Unreadable)),
        (r#"{"id":"j","status":1}"#, later(Fault::Unreadable)),
        (r#"{"id":"j","status":"completed","status":"processing"}"#, later(Fault::Unreadable)),
        (r#"{"id":"j"}"#, later(Fault::Unreadable)),
        ("{}", later(Fault::Unreadable)),
        (r#"[null,null,null,null,"j","completed"]"#, later(Fault::Unreadable)),
        (r#"{"data":["j","completed"]}"#, later(Fault::Unreadable)),
    ];
    for (body, meaning) in table {
        assert_eq!(job(&reply(200, body), &rules(), "j").meaning, meaning, "{body}");
    }
    assert_eq!(job(&reply(404, r#"{"status":"completed"}"#), &rules(), "j").meaning, later(Fault::Status(404)));
}

#[test]
fn a_body_that_did_not_come_counts_only_where_it_is_needed() {
    for (status, meaning) in
        [(200, later(Fault::Cut)), (401, Meaning::KeyRefused(401)), (503, later(Fault::Status(503)))]
    {
        let reply = Reply { body: Err(Fault::Cut), ..reply(status, "") };
        assert_eq!(delete(&reply, &rules(), "a-1").meaning, meaning);
    }
}

#[test]
fn a_pause_goes_only_with_too_many_calls_and_has_an_end() {
    let pause = |status, body, rules: &Rules| {
        let reply = Reply { pause: Some(700 * SECOND), ..reply(status, body) };
        delete(&reply, rules, "a-1").meaning
    };
    let rules = rules_with(r#"[{"status":"2xx","code":"10029","means":"too_many"}]"#, &[]);
    let after = Some(600 * SECOND);
    for (status, body, why) in [
        (429, "", Fault::TooMany(429)),
        (420, "", Fault::TooMany(420)),
        (503, "", Fault::Status(503)),
        (200, r#"{"code":10029}"#, Fault::TooMany(200)),
    ] {
        assert_eq!(pause(status, body, &rules), Meaning::Retry { after, why }, "{status}");
    }
    for (status, body, why) in [(500, "", Fault::Status(500)), (200, r#"{"code":"busy"}"#, Fault::Code)] {
        assert_eq!(pause(status, body, &rules), later(why), "{status}");
    }
    let short = rules_with("[]", &[("PROVIDER__MAX_PAUSE", "2s")]);
    assert_eq!(pause(429, "", &short), Meaning::Retry { after: Some(2 * SECOND), why: Fault::TooMany(429) });
}

#[test]
fn the_first_rule_that_holds_counts_and_is_named() {
    let rules = rules_with(
        r#"[{"operation":"detail","status":404,"code":"NotFound.asset_id","means":"gone"},
            {"status":502,"message":"notfound.asset_id","means":"gone"},
            {"status":"2xx","code":-1,"means":"later"},
            {"operation":"delete","status":204,"means":"found"},
            {"operation":"detail","asset_status":"recycled","means":"gone"},
            {"status":403,"code":"OperationDenied.InvalidState","means":"in_use"}]"#,
        &[],
    );
    let told = |answer: Answer<Detail>| (answer.meaning.as_str(), answer.rule.map(|rule| rule.to_string()));
    let own = |number| Some(format!("provider.answers[{number}]"));
    for (status, body, wanted) in [
        (404, r#"{"error":{"code":"NotFound.asset_id","message":"x"}}"#, ("gone", own(1))),
        (404, r#"{"ResponseMetadata":{"Error":{"Code":"NotFound.asset_id"}}}"#, ("gone", own(1))),
        (404, r#"{"errorCode":"NotFound.asset_id"}"#, ("gone", own(1))),
        (404, r#"{"error":{"code":"NotFound.route"}}"#, ("http_4xx", None)),
        (502, r#"{"error":{"code":"up","message":"upstream: NotFound.asset_id: no"}}"#, ("gone", own(2))),
        (502, "<html>", ("http_5xx", None)),
        (200, r#"{"code":-1}"#, ("retry_code", own(3))),
        (200, r#"{"code":0,"data":{"assetId":"a-1","status":"RECYCLED"}}"#, ("gone", own(5))),
        (
            200,
            r#"{"code":0,"data":{"assetId":"a-2","status":"RECYCLED"}}"#,
            ("wrong_asset", Some("built in: code 0".into())),
        ),
        (
            200,
            r#"{"code":0,"data":{"assetId":"a-1","status":"DELETED"}}"#,
            ("gone", Some("built in: asset status deleted".into())),
        ),
        (200, r#"{"code":0,"data":{"assetId":"a-1","status":"Active"}}"#, ("ok", Some("built in: code 0".into()))),
        (200, r#"{"code":1001}"#, ("refused", Some("provider.refused_codes".into()))),
        (403, r#"{"error":{"code":"OperationDenied.InvalidState"}}"#, ("in_use", own(6))),
        (403, r#"{"error":{"code":"AccessDenied"}}"#, ("key_refused", Some("built in: HTTP 403".into()))),
    ] {
        assert_eq!(told(detail(&reply(status, body), &rules, "a-1")), wanted, "{status} {body}");
    }
    let deleted = delete(&reply(204, ""), &rules, "a-1");
    assert_eq!((deleted.meaning, deleted.rule.as_deref()), (Meaning::Found(()), Some("provider.answers[4]")));
    assert_eq!(
        delete(&reply(404, r#"{"error":{"code":"NotFound.asset_id"}}"#), &rules, "a-1").meaning,
        later(Fault::Status(404))
    );
}

#[test]
fn an_envelope_of_another_gateway_is_read_where_a_rule_says_so() {
    let bare = r#"{"ResponseMetadata":{"RequestId":"r"},"Result":{"Id":"a-1","name":"Cat"}}"#;
    assert_eq!(
        detail(&reply(200, bare), &rules(), "a-1").meaning,
        later(Fault::Unreadable),
        "without a code it says nothing"
    );
    let rules = rules_with(r#"[{"operation":"detail","status":200,"means":"found"}]"#, &[]);
    let found = Meaning::Found(Detail { name: Some("Cat".into()), ..Detail::default() });
    assert_eq!(detail(&reply(200, bare), &rules, "a-1").meaning, found);
    assert_eq!(detail(&reply(200, bare), &rules, "a-2").meaning, later(Fault::WrongAsset));
    assert_eq!(detail(&reply(200, "{}"), &rules, "a-1").meaning, later(Fault::Unreadable));
}

#[test]
fn the_code_of_an_error_is_no_success_and_a_jobs_error_is_no_code() {
    let nested = r#"{"error":{"code":0,"message":"no"}}"#;
    assert_eq!(delete(&reply(200, nested), &rules(), "a-1").meaning, later(Fault::Unreadable));
    let failed = r#"{"id":"j","status":"failed","error":{"code":"Moderation","message":"no"}}"#;
    assert_eq!(job(&reply(200, failed), &rules(), "j").meaning, Meaning::Found(JobStatus::Failed));
    let unknown = job(&reply(200, r#"{"error":{"code":"NotFound.job"}}"#), &rules(), "j");
    assert_eq!((unknown.meaning, unknown.code.as_deref()), (Meaning::Unlisted, Some("NotFound.job")));
}

#[test]
fn what_is_sent_by_something_on_the_way_has_no_rule() {
    let rules = rules_with(r#"[{"status":"4xx","means":"gone"}]"#, &[]);
    let page = from(&[("content-type", "text/html")], 403, "<html>blocked</html>");
    assert_eq!(delete(&page, &rules, "a-1").meaning, later(Fault::Between(403)));
    assert_eq!(delete(&reply(403, "{}"), &rules, "a-1").meaning, Meaning::Gone);
    let cut = Reply { body: Err(Fault::Cut), ..reply(404, "") };
    assert_eq!(delete(&cut, &rules, "a-1").meaning, Meaning::Gone, "the status has arrived");
}

#[test]
fn which_answers_show_that_the_provider_is_at_work() {
    for (status, body, alive) in [
        (200, r#"{"code":0}"#, true),
        (200, r#"{"code":7}"#, true),
        (200, "<html>", true),
        (404, r#"{"error":{"code":"x"}}"#, true),
        (404, r#"{"message":"No handler found for GET /x"}"#, false),
        (403, "{}", true),
        (401, "{}", false),
        (407, "{}", false),
        (409, "", true),
        (420, "", false),
        (429, "", false),
        (500, r#"{"code":-1}"#, false),
        (502, "", false),
    ] {
        assert_eq!(delete(&reply(status, body), &rules(), "a-1").shows_life(), alive, "{status} {body}");
    }
    assert!(!Answer::<()>::fault(Fault::Timeout).shows_life());
    let rules = rules_with(r#"[{"status":502,"message":"NotFound","means":"gone"}]"#, &[]);
    assert!(delete(&reply(502, r#"{"message":"NotFound.asset_id"}"#), &rules, "a-1").shows_life());
}

#[test]
fn code_and_msg_are_kept_for_people_and_the_token_is_not() {
    let answer = delete(&reply(500, r#"{"code":5,"msg":"a\nb"}"#), &rules(), "a-1");
    assert_eq!((answer.code.as_deref(), answer.msg.as_deref()), (Some("5"), Some("a b")));
    let answer = delete(&reply(404, r#"{"message":"No handler"}"#), &rules(), "a-1");
    assert_eq!(answer.msg.as_deref(), Some("No handler"));

    let long = format!(r#"{{"code":7,"msg":"{}"}}"#, "删".repeat(600));
    assert_eq!(delete(&reply(200, &long), &rules(), "a-1").msg.map(|msg| msg.chars().count()), Some(500));

    let quoted = format!(r#"{{"code":7,"msg":"{}very-secret-token"}}"#, "x".repeat(490));
    let msg = delete(&reply(401, &quoted), &rules(), "a-1").msg.unwrap_or_default();
    assert!(msg.ends_with("[redacted]") && !msg.contains("very"), "{msg}");
    let answer = delete(&reply(200, r#"{"code":"very-secret-token"}"#), &rules(), "a-1");
    assert_eq!((answer.meaning, answer.code), (later(Fault::Unreadable), None));
}

fn from(headers: &[(&'static str, &'static str)], status: u16, body: &str) -> Reply {
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
    let pair =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let headers: HeaderMap = headers.iter().map(pair).collect();
    Reply { origin: Origin::read(&headers, None), ..reply(status, body) }
}

#[test]
fn a_refusal_by_something_on_the_way_is_no_refused_key() {
    let page = [("content-type", "text/html"), ("server", "squid/5.7")];
    for (headers, status, body, meaning) in [
        (&page[..], 403, "<html>blocked</html>", later(Fault::Between(403))),
        (&page, 401, "", later(Fault::Between(401))),
        (&[], 403, " <html>", later(Fault::Between(403))),
        (&[("via", "1.1 filter")], 403, "", later(Fault::Between(403))),
        (&[], 407, "{}", later(Fault::Between(407))),
        (&page, 502, "<html>", later(Fault::Status(502))),
        // What the provider itself may answer.
        (&[("via", "1.1 gateway")], 403, r#"{"message":"no"}"#, Meaning::KeyRefused(403)),
        (&[("content-type", "text/plain")], 401, "no", Meaning::KeyRefused(401)),
    ] {
        assert_eq!(delete(&from(headers, status, body), &rules(), "a-1").meaning, meaning, "{status} {body}");
    }
}

#[test]
fn who_may_have_sent_a_doubtful_answer_is_told_without_our_token() {
    let seen = |reply: Reply| delete(&reply, &rules(), "a-1").seen;
    let page = seen(from(&[("content-type", "text/html"), ("server", "very-secret-token")], 502, "<html>")).unwrap();
    assert_eq!(page, "content type text/html, Server: [redacted]");
    assert!(seen(from(&[], 401, "{}")).is_some());
    assert_eq!(seen(from(&[], 500, "{}")), None, "an object is the provider's");
    assert_eq!(seen(from(&[], 200, r#"{"code":0}"#)), None);
}

#[test]
fn one_byte_order_mark_before_an_answer_is_ignored() {
    assert_eq!(delete(&reply(200, "\u{feff}{\"code\":0}"), &rules(), "a-1").meaning, Meaning::Found(()));
    assert_eq!(delete(&reply(200, "\u{feff}\u{feff}{\"code\":0}"), &rules(), "a-1").meaning, later(Fault::Unreadable));
}

#[test]
fn a_jobs_status_is_read_regardless_of_case_and_white_space() {
    for (body, status) in [
        (r#"{"id":"j","status":" COMPLETED "}"#, JobStatus::Completed),
        (r#"{"status":"Completed","data":{"id":"j","status":"completed"}}"#, JobStatus::Completed),
        (r#"{"id":"j","status":"FAILED"}"#, JobStatus::Failed),
        (r#"{"id":"j","status":"Odd"}"#, JobStatus::Other("Odd".into())),
    ] {
        assert_eq!(job(&reply(200, body), &rules(), "j").meaning, Meaning::Found(status), "{body}");
    }
}
