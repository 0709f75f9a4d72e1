//! The same oracles in every `cargo test`: over the fuzzer's corpus, over generated inputs, and over the extremes.

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{envelope, properties, registry, request, settings};

type Oracle = fn(&[u8]);

const ORACLES: [(&str, Oracle); 5] = [
    ("request", request),
    ("properties", properties),
    ("envelope", envelope),
    ("registry", registry),
    ("settings", settings),
];

/// Names and words that some reader knows, so that generated texts get further than "unknown field".
const WORDS: [&str; 27] = [
    "request_id",
    "asset_id",
    "requested_by",
    "reason",
    "case_id",
    "case_size",
    "on_in_use",
    "deadline",
    "expect",
    "dry_run",
    "backup",
    "asset_type",
    "name",
    "data",
    "specversion",
    "source",
    "code",
    "msg",
    "message",
    "assetId",
    "assetType",
    "createTime",
    "status",
    "id",
    "jobs",
    "completed",
    "processing",
];

/// Scalars at the border of something, as they are written.
const SCALARS: [&str; 26] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "0.0",
    "1e999",
    "1e2",
    "9223372036854775808",
    "18446744073709551616",
    "\"0\"",
    "\"-1\"",
    "\"1001\"",
    "\"1002\"",
    "\"\"",
    "\"a-1\"",
    "\"1.0\"",
    "\"wait\"",
    "\"..\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"2026-11-24T10:00:00Z\"",
    "\"very-secret-token\"",
    "\"j\"",
];

const VALID: [&str; 9] = [
    r#" {"request_id":"r-1","asset_id":"asset-1","requested_by":"me","reason":"x","case_id":"c","case_size":3}"#,
    r#" {"request_id":"r-1","asset_id":"asset-1","on_in_use":"reject","deadline":"2026-11-24T10:00:00+01:00"}"#,
    r#"m{"asset_id":"asset-1","dry_run":true,"expect":{"asset_type":"Image","name":"Cat"}}"#,
    r#"c{"specversion":"1.0","id":"ce-1","source":"/x","type":"t","data":{"asset_id":"a","dry_run":true}}"#,
    r#"0{"code":0,"msg":null,"data":{"name":"Cat","assetId":"a-1","status":"Active","assetType":"Image"}}"#,
    r#"0{"code":"-1","msg":"very-secret-token"}"#,
    r#"0{"id":"j","status":"completed","data":{"id":"j","status":"completed"}}"#,
    r#"{"jobs":[{"id":"video_1","status":"completed","model":"m"},{"id":"video_2","status":"failed"}]}"#,
    r#"{"asset_id":"a-1","jobs":[]}"#,
];

/// Texts of JSON's form, with names that stand twice, and values in each other's places.
fn json() -> impl Strategy<Value = String> {
    let word = prop_oneof![9 => select(&WORDS[..]).prop_map(str::to_owned), 1 => "[ -~]{0,8}"];
    let name = word.prop_map(|word| serde_json::Value::from(word).to_string());
    let scalar = prop_oneof![3 => select(&SCALARS[..]).prop_map(str::to_owned), 1 => name.clone()];
    scalar.prop_recursive(4, 40, 8, move |inner| {
        let field = (name.clone(), inner.clone()).prop_map(|(name, value)| format!("{name}:{value}"));
        prop_oneof![
            1 => vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            4 => vec(field, 0..8).prop_map(|fields| format!("{{{}}}", fields.join(","))),
        ]
    })
}

/// A valid text with something cut out, put in, or said twice.
fn mutated(valid: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8, any::<u8>());
    (select(valid), vec(change, 1..4)).prop_map(|(text, changes)| {
        let mut bytes = text.as_bytes().to_vec();
        for (one, other, what, byte) in changes {
            let (one, other) = (one.index(bytes.len() + 1), other.index(bytes.len() + 1));
            let (from, to) = (one.min(other), one.max(other));
            match what {
                0 => drop(bytes.drain(from..to)),
                1 => bytes.insert(from, byte),
                2 => {
                    let again = bytes[from..to].to_vec();
                    bytes.splice(to..to, again);
                }
                _ => bytes.truncate(to),
            }
        }
        bytes
    })
}

/// Lines such as settings are made of, in any order.
fn toml() -> impl Strategy<Value = String> {
    let section = select(
        &[
            "[broker]",
            "[provider]",
            "[guard]",
            "[guard.http]",
            "[guard.postgres]",
            "[retry]",
            "[ledger]",
            "[worker]",
            "[http]",
            "[log]",
            "[brake]",
            "[publishers]",
            "[[guard]]",
            "[x]",
            "\n---",
        ][..],
    );
    let key = select(
        &[
            "url",
            "prefix",
            "token",
            "timeout",
            "retry_codes",
            "gone_codes",
            "none",
            "poll",
            "query",
            "wait_steps",
            "max_age",
            "concurrency",
            "grace",
            "listen",
            "level",
            "format",
            "max_deletions",
            "window",
            "allow",
            "protected",
            "GUARD__NONE",
            "BROKER__URL",
            "PROVIDER__TOKEN",
            "HTTP__TOKEN",
            "A__B__C__D__E",
            "",
        ][..],
    );
    let value = select(
        &[
            "\"amqp://u:s3cr3t@h/%2f\"",
            "\"http://u:s3cr3t@h/{asset_id}\"",
            "\"postgres://u:s3cr3t@h/d\"",
            "\"s3cr3t\"",
            "s3cr3t",
            "true",
            "\"1h\"",
            "[\"5s\", 7]",
            "4",
            "-1",
            "1e9",
            "nan",
            "{ a = 1 }",
            "[[]]",
            "\"",
            "'''",
            "1979-05-27",
            "\"adaptive\"",
            "\"127.0.0.1:0\"",
            "\"memory:\"",
            "[\"a*\"]",
            "\"select $1\"",
            "\"99999999999999999999h\"",
        ][..],
    );
    let line = (key, value, any::<bool>()).prop_map(|(key, value, spaced)| {
        if spaced { format!("{key} = {value}") } else { format!("{key}={}", value.trim_matches('"')) }
    });
    vec(prop_oneof![1 => section.prop_map(str::to_owned), 2 => line], 0..16).prop_map(|lines| {
        let least = "[provider]\ntoken = \"s3cr3t\"\n[guard]\nnone = true\n";
        format!("{least}{}", lines.join("\n"))
    })
}

proptest! {
    // What fails belongs into the fuzzer's corpus, under a name that says what it is.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..600)) {
        for (_, oracle) in ORACLES {
            oracle(&bytes);
        }
    }

    #[test]
    fn any_json_is_read_or_refused(text in json(), kind in select(&b" cmb035"[..])) {
        registry(text.as_bytes());
        let input = [&[kind], text.as_bytes()].concat();
        request(&input);
        envelope(&input);
    }

    #[test]
    fn what_was_valid_and_is_damaged_is_read_or_refused(bytes in mutated(&VALID)) {
        for (_, oracle) in ORACLES {
            oracle(&bytes);
        }
    }

    #[test]
    fn any_settings_are_read_or_refused_and_tell_no_secret(text in toml()) {
        settings(text.as_bytes());
    }
}

/// What the fuzzer has found its way to so far, also where there is no fuzzer.
#[test]
fn the_corpus_of_the_fuzzer_holds() {
    for (name, oracle) in ORACLES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 5, "the corpus of {name} is missing");
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            // The name of the file, should the oracle panic over it.
            let held = std::panic::catch_unwind(|| oracle(&bytes));
            assert!(held.is_ok(), "{}", file.display());
        }
    }
}

#[test]
fn what_is_nested_deeply_is_no_trouble() {
    for depth in [100, 5_000, 150_000] {
        for (open, close) in [("[", "]"), ("{\"data\":", "}"), ("[{\"jobs\":", "}]")] {
            let nested = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            let as_field = |name: &str| format!(r#"{{"request_id":"r","code":0,"{name}":{nested}}}"#);
            let texts = ["jobs", "data", "msg", "expect", "x"].map(as_field);
            for text in texts.iter().chain([&nested]) {
                registry(text.as_bytes());
                for kind in ['0', 'c'] {
                    request(format!("{kind}{text}").as_bytes());
                    envelope(format!("{kind}{text}").as_bytes());
                }
            }
        }
        for nested in ["a = ".to_owned() + &"[".repeat(depth), "{a=".repeat(depth), "a.".repeat(depth) + "a = 1"] {
            settings(nested.as_bytes());
            settings(format!("\n---\n{}=1", nested.replace('.', "__")).as_bytes());
        }
    }
}

#[test]
fn a_body_full_of_names_takes_no_longer_than_one_of_another_kind() {
    let names: Vec<String> = (0..7_000).map(|number| format!(r#""{number:x}":0"#)).collect();
    let body = format!(" {{{}}}", names.join(","));
    assert!(body.len() < 64 * 1024);
    let began = Instant::now();
    request(body.as_bytes());
    // Some milliseconds, without optimisation; seconds, where each name was compared with each.
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
}

#[test]
fn a_long_answer_is_read_to_its_end() {
    let job = r#"{"id":"video_1","status":"completed"},"#;
    let jobs = format!("{}{}", job.repeat(25_000), job.trim_end_matches(','));
    registry(format!(r#"{{"jobs":[{jobs}]}}"#).as_bytes());
    registry(format!(r#"{{"jobs":[{jobs}"#).as_bytes());
    envelope(format!(r#"0{{"code":7,"msg":"{}"}}"#, "very-secret-token".repeat(60_000)).as_bytes());
    request(format!(r#" {{"request_id":"r","asset_id":"{}"}}"#, "a".repeat(65_000)).as_bytes());
}
