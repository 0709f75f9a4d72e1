use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use jsonschema::Validator;
use proptest::prelude::*;

use super::super::event::{AssetSeen, Facts, LastWord, Subject};
use super::super::request::{Envelope, FIELDS, Labels, Request};
use super::super::{Notice, Proof, ResultEvent};
use super::*;

#[test]
fn the_schemas_in_docs_are_those_of_this_code() {
    for strict in all() {
        let (place, text) = (place(strict.file), format!("{:#}\n", strict.published()));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, &text).unwrap();
        }
        let written = fs::read_to_string(&place).unwrap_or_default();
        assert!(written == text, "{} is not what the code says: `make contract` writes it again", place.display());
    }
}

fn validator(file: &str) -> Validator {
    let one = all().into_iter().find(|one| one.file == file).unwrap();
    jsonschema::options().should_validate_formats(true).build(one.schema.as_value()).unwrap()
}

fn assert_valid(validator: &Validator, body: &str) {
    let event: Value = serde_json::from_str(body).unwrap();
    let problems: Vec<String> =
        validator.iter_errors(&event).map(|error| format!("{} {error}", error.instance_path())).collect();
    assert!(problems.is_empty(), "{problems:#?}\n{event:#}");
}

#[test]
fn the_decoder_and_the_schema_know_the_same_fields() {
    let schema = described::<RequestBody>("", "", draft());
    let names: BTreeSet<&str> =
        schema.as_value()["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(FIELDS));
}

#[test]
fn every_result_is_valid_and_every_other_is_not() {
    let validator = validator("result");
    let (request_id, asset_id) = (RequestId::parse("r-1").unwrap(), AssetId::parse("asset-1").unwrap());
    let labels = Labels {
        requested_by: Some("me".into()),
        reason: Some(String::new()),
        case_id: Some(CaseId::parse("case-7").unwrap()),
        case_size: Some(2),
    };
    let at = "2026-11-24T10:00:00.123Z".parse().unwrap();
    let refusals = CAUSES.into_iter().flat_map(|cause| {
        outcomes(cause).iter().map(move |name| match *name {
            "rejected" => Outcome::rejected(cause, "why"),
            _ => Outcome::failed(cause, "why"),
        })
    });
    let gone = Proof::ALL.into_iter().flat_map(|proof| [Outcome::Deleted(proof), Outcome::AlreadyAbsent(proof)]);
    for outcome in gone.chain([Outcome::WouldDelete]).chain(refusals) {
        for (asset_id, labels) in [(Some(&asset_id), &labels), (None, &Labels::default())] {
            let subject = Subject { request_id: &request_id, asset_id, labels };
            let asset = AssetSeen { name: Some("Cat".into()), ..AssetSeen::default() };
            let provider = LastWord { status: Some(200), code: Some("0".into()), ..LastWord::default() };
            let facts = Facts { asset: Some(asset), provider: Some(provider), attempts: 3, ..Facts::default() };
            let event = ResultEvent::new(uuid::Uuid::nil(), subject, &outcome, facts, at);
            assert_valid(&validator, &event.body);
            assert_valid(&validator, &ResultEvent::conflict(subject, &outcome, at).body);
            assert_eq!(
                validator.is_valid(&serde_json::from_str(&ResultEvent::unheard(subject, &outcome).body).unwrap()),
                event.cause == "publisher_not_allowed",
                "only who may not ask is told no times"
            );
            each_change_is_noticed(&validator, &event.body);
        }
    }
}

/// A schema that lets everything pass would be no use.
fn each_change_is_noticed(validator: &Validator, body: &str) {
    let event: Value = serde_json::from_str(body).unwrap();
    let refusal = !event["data"]["cause"].is_null();
    for (pointer, value) in [
        ("/type", json!("asset.deletion.started.v1")),
        ("/data/outcome", json!(if refusal { "deleted" } else { "failed" })),
        ("/data/cause", json!("bad_luck")),
        ("/data/attempts", json!(-1)),
        ("/data/verified", json!(null)),
        ("/data/request_id", json!("two words")),
        ("/data/more", json!(1)),
        ("/specversion", json!("0.3")),
        ("/id", json!("not a UUID")),
    ] {
        let mut changed = event.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[name] = value;
        assert!(!validator.is_valid(&changed), "{pointer} may be anything: {changed:#}");
    }
}

#[test]
fn every_notice_is_valid() {
    let (request, asset) = (RequestId::parse("r-1").unwrap(), AssetId::parse("asset-1").unwrap());
    let at = "2026-11-24T10:00:00Z".parse().unwrap();
    assert_valid(&validator("started"), &Notice::started(uuid::Uuid::nil(), &request, &asset, at).body);
    let case = CaseId::parse("Art. 17, Müller").unwrap();
    let decided = BTreeMap::from([("deleted".to_owned(), 9)]);
    let completed = Notice::case_completed(uuid::Uuid::nil(), &case, 9, &decided, at).body;
    assert_valid(&validator("case-completed"), &completed);
    assert!(!validator("started").is_valid(&serde_json::from_str(&completed).unwrap()));
}

/// What belongs in a field.
fn fitting(name: &str) -> BoxedStrategy<Value> {
    let time = (1..10_000_u32, 1..=12_u32, 1..=28_u32, 0..24_u32, 0..60_u32, "(\\.[0-9]{1,9})?", "Z|z|[+-]0[0-9]:30")
        .prop_filter("the last day of all", |(year, month, ..)| (*year, *month) != (9999, 12))
        .prop_map(|(year, month, day, hour, minute, fraction, offset)| {
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:07{fraction}{offset}")
        });
    let expect = (proptest::option::of("[a-z]{0,3}"), "[a-z]{0,3}");
    match name {
        "request_id" | "asset_id" => "[A-Za-z0-9_-]{1,128}".prop_map(Value::from).boxed(),
        "case_id" => "[^\\p{Cc}]{1,256}".prop_map(Value::from).boxed(),
        "case_size" => (1..=MAX_CASE_SIZE).prop_map(Value::from).boxed(),
        "on_in_use" => "wait|reject".prop_map(Value::from).boxed(),
        "deadline" => time.prop_map(Value::from).boxed(),
        "expect" => expect.prop_map(|(asset_type, name)| json!({"asset_type": asset_type, "name": name})).boxed(),
        "dry_run" | "backup" => any::<bool>().prop_map(Value::from).boxed(),
        _ => any::<String>().prop_map(Value::from).boxed(),
    }
}

/// What nearly belongs somewhere, or nowhere.
fn odd() -> Vec<Value> {
    let texts =
        ["", ".", "..", "a b", "a/b", "a\n", "\u{85}", "ä", "Wait", "tomorrow", "2026-11-24", "2026-02-30T10:00:00Z"];
    let long = [128, 129, 256, 257, MAX_TEXT, MAX_TEXT + 1]
        .into_iter()
        .flat_map(|length| ["a", "ä"].map(|text| json!(text.repeat(length))));
    let others = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(MAX_CASE_SIZE + 1),
        json!(1.5),
        json!([]),
        json!({}),
        json!({"name": null}),
        json!({"name": "ä".repeat(MAX_TEXT)}),
        json!({"name": "ä".repeat(MAX_TEXT + 1)}),
        json!({"asset_type": 7}),
        json!({"name": "x", "type": "y"}),
        json!(["wait"]),
    ];
    texts.map(Value::from).into_iter().chain(long).chain(others).collect()
}

/// A body in which everything fits, but for some of its fields, and for one that is misspelt now and then.
fn body() -> impl Strategy<Value = Value> {
    let fields: Vec<_> = FIELDS
        .into_iter()
        .map(|name| {
            let asked = if name == "asset_id" { 0.99 } else { 0.5 };
            proptest::option::weighted(asked, fitting(name).prop_map(move |value| (name.to_owned(), value)))
        })
        .collect();
    let strange =
        proptest::collection::vec((proptest::sample::select(FIELDS.to_vec()), proptest::sample::select(odd())), 0..=2);
    let unknown = proptest::option::weighted(0.05, Just(("dryrun".to_owned(), json!(true))));
    (fields, strange, unknown).prop_map(|(fields, strange, unknown)| {
        let strange = strange.into_iter().map(|(name, value)| (name.to_owned(), value));
        Value::Object(fields.into_iter().flatten().chain(strange).chain(unknown).collect())
    })
}

/// Both accept it or both refuse it, plain and in a CloudEvent.
fn assert_agreement(request: &Value) {
    thread_local! {
        static VALIDATORS: [Validator; 2] = ["request", "request-event"].map(validator);
    }
    let event = json!({"specversion": "1.0", "id": "e", "source": "s", "type": "t", "data": request});
    VALIDATORS.with(|validators| {
        let kinds = [(request, None), (&event, Some("application/cloudevents+json"))];
        for ((body, content_type), validator) in kinds.into_iter().zip(validators) {
            let text = body.to_string();
            let decoded = Request::decode(Envelope {
                body: text.as_bytes(),
                content_type,
                message_id: Some("m"),
                ..Envelope::default()
            });
            assert_eq!(decoded.is_ok(), validator.is_valid(body), "{decoded:?} {text}");
        }
    });
}

#[test]
fn the_decoder_takes_of_each_field_what_the_schema_takes() {
    for name in FIELDS {
        for value in odd() {
            let mut request = json!({"request_id": "r", "asset_id": "a", "case_id": "c"});
            request[name] = value;
            assert_agreement(&request);
        }
    }
    for missing in FIELDS {
        let mut request = json!({"request_id": "r", "asset_id": "a", "case_id": "c", "case_size": 3});
        request.as_object_mut().unwrap().remove(missing);
        assert_agreement(&request);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_decoder_takes_what_the_schema_takes(request in body()) {
        assert_agreement(&request);
    }
}
