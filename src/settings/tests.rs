use std::io::Write;
use std::os::unix::ffi::OsStringExt;

use secrecy::ExposeSecret;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| (format!("ASSET_ERASER__{key}"), (*value).to_owned())).collect()
}

fn load(file: &str, pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let mut path = tempfile::NamedTempFile::new().unwrap();
    path.write_all(file.as_bytes()).unwrap();
    Settings::load(Some(path.path()), env(pairs))
}

const LEAST: &str = "[provider]\ntoken = \"tok-en\"\n[guard]\nnone = true\n";

fn problem(file: &str, pairs: &[(&str, &str)]) -> String {
    load(file, pairs).expect_err(file).to_string()
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let settings = load(LEAST, &[]).unwrap();
    assert_eq!(settings.broker.prefix, "asset.deletion");
    assert_eq!(settings.provider.gone_codes, ["-1"]);
    assert_eq!(
        settings.retry.wait_steps.iter().map(|step| brief(*step)).collect::<Vec<_>>(),
        ["5s", "30s", "2m", "10m", "1h"]
    );
    assert_eq!((settings.guard.poll, settings.worker.grace), (Duration::from_secs(30), Duration::from_secs(25)));
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(settings.worker.concurrency, Concurrency::Adaptive { most: 512 });
    let adaptive = load(LEAST, &[("WORKER__CONCURRENCY", "adaptive"), ("WORKER__MAX_CONCURRENCY", "9")]).unwrap();
    assert_eq!(adaptive.worker.concurrency, Concurrency::Adaptive { most: 9 });
}

#[test]
fn the_environment_wins_and_needs_no_file() {
    let all = [
        ("PROVIDER__TOKEN", "12345"),
        ("PROVIDER__RETRY_CODES", "500, 501"),
        ("GUARD__HTTP__URL", "http://jobs/{asset_id}"),
        ("GUARD__IN_PROGRESS", "running"),
        ("RETRY__WAIT_STEPS", "200ms,2s"),
        ("BROKER__RESULTS_QUEUE", "false"),
        ("WORKER__CONCURRENCY", "4"),
    ];
    let settings = Settings::load(None, env(&all)).unwrap();
    assert_eq!(settings.provider.token.expose_secret(), "12345", "a token that looks like a number stays text");
    assert_eq!(settings.provider.retry_codes, ["500", "501"]);
    assert_eq!(settings.retry.wait_steps, [Duration::from_millis(200), Duration::from_secs(2)]);
    assert_eq!((settings.broker.results_queue, settings.worker.concurrency), (false, Concurrency::Fixed(4)));
    assert_eq!(load("[worker]\nconcurrency = 9\n", &all).unwrap().worker.concurrency, Concurrency::Fixed(4));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (file, pairs, starts) in [
        ("[provider]\ntimeot = \"1s\"\n", &[][..], "provider.timeot ("),
        ("[provder]\n", &[], "provder ("),
        (
            LEAST,
            &[("PROVIDER__TIMEOUT", "soon")],
            "provider.timeout (ASSET_ERASER__PROVIDER__TIMEOUT): must be a duration",
        ),
        (LEAST, &[("BROKER__URL", "http://secretpass")], "broker.url (ASSET_ERASER__BROKER__URL): must be amqp"),
        (LEAST, &[("WORKER__CONCURRENCY", "0")], "worker.concurrency (ASSET_ERASER__WORKER__CONCURRENCY): must be 1"),
        (
            LEAST,
            &[("WORKER__CONCURRENCY", "some")],
            "worker.concurrency (ASSET_ERASER__WORKER__CONCURRENCY): must be a",
        ),
        (
            "[worker]\nconcurrency = 4\nmax_concurrency = 9\n[provider]\ntoken = \"t\"\n[guard]\nnone = true\n",
            &[],
            "worker.max_concurrency (",
        ),
        (
            LEAST,
            &[("BROKER__CA_FILE", "ca.pem")],
            "broker.ca_file (ASSET_ERASER__BROKER__CA_FILE): is for amqps:// only",
        ),
        (
            LEAST,
            &[("BROKER__CLIENT_CERT_FILE", "cert.pem"), ("BROKER__URL", "amqps://h/%2f")],
            "broker.client_key_file (not set; ASSET_ERASER__BROKER__CLIENT_KEY_FILE): client_cert_file and",
        ),
        (LEAST, &[("PROVIDER__MAX_RATE", "0")], "provider.max_rate (ASSET_ERASER__PROVIDER__MAX_RATE): must be"),
        (LEAST, &[("RETRY__WAIT_STEPS", "")], "retry.wait_steps (ASSET_ERASER__RETRY__WAIT_STEPS): must hold 1"),
        (LEAST, &[("PROVIDER__GONE_CODES", "0")], "provider.gone_codes ("),
        (LEAST, &[("GUARD__HTTP__URL", "http://x/{asset_id}")], "guard.none ("),
        (LEAST, &[("GUARD__NONE", "false")], "guard.none (ASSET_ERASER__GUARD__NONE): no source"),
        (
            LEAST,
            &[("PROVIDER__TOKEN_FILE", "/nowhere")],
            "provider.token_file (ASSET_ERASER__PROVIDER__TOKEN_FILE): set either",
        ),
        (LEAST, &[("LEDGER__URL", "mysql://x")], "ledger.url ("),
        (
            LEAST,
            &[("LEDGER__COMPACT_AFTER", "23h")],
            "ledger.compact_after (ASSET_ERASER__LEDGER__COMPACT_AFTER): must be",
        ),
        ("[guard]\nnone = true\n", &[], "provider.token (not set; ASSET_ERASER__PROVIDER__TOKEN): is required"),
    ] {
        let said = problem(file, pairs);
        assert!(said.starts_with(starts), "{said}\nshould start with {starts}");
    }
}

#[test]
fn a_brake_has_a_limit_and_a_window() {
    assert_eq!(load(LEAST, &[]).unwrap().brake, None);
    let brake = |file: &str| load(&format!("{LEAST}[brake]\n{file}\n"), &[]).unwrap().brake.unwrap();
    assert_eq!(brake("max_deletions = 500"), BrakeSettings { max_deletions: 500, window: Duration::from_secs(3600) });
    assert_eq!(brake("max_deletions = 1\nwindow = \"168h\"").window, Duration::from_secs(7 * 24 * 3600));
    let of = |key: &str, rule: &str| format!("brake.{key} (ASSET_ERASER__BRAKE__{}): {rule}", key.to_uppercase());
    for (pairs, starts) in [
        (&[("BRAKE__WINDOW", "2h")][..], of("window", "says how far")),
        (&[("BRAKE__MAX_DELETIONS", "0")], of("max_deletions", "must be at least 1")),
        (&[("BRAKE__MAX_DELETIONS", "many")], of("max_deletions", "must be a whole number")),
        (&[("BRAKE__MAX_DELETIONS", "5"), ("BRAKE__WINDOW", "59s")], of("window", "must be 1m to 168h")),
        (&[("BRAKE__MAX_DELETIONS", "5"), ("BRAKE__WINDOW", "169h")], of("window", "must be 1m to 168h")),
    ] {
        let said = problem(LEAST, pairs);
        assert!(said.starts_with(&starts), "{said}\nshould start with {starts}");
    }
}

#[test]
fn protected_assets_are_named_above_the_sections_or_in_the_environment() {
    let patterns = |settings: Settings| -> Vec<String> {
        settings.protected.iter().map(|pattern| pattern.as_str().to_owned()).collect()
    };
    let file = format!("protected = [\"asset-2026*\", \"logo\"]\n{LEAST}");
    assert_eq!(patterns(load(&file, &[]).unwrap()), ["asset-2026*", "logo"]);
    assert_eq!(patterns(load(&file, &[("PROTECTED", "a*, b?")]).unwrap()), ["a*", "b?"]);
    assert!(load(LEAST, &[]).unwrap().protected.is_empty());
    let said = problem(LEAST, &[("PROTECTED", "a*,b/c")]);
    assert!(said.starts_with("protected (ASSET_ERASER__PROTECTED): pattern \"b/c\" may hold only"), "{said}");
    let said = problem(&format!("protected = [\"\"]\n{LEAST}"), &[]);
    assert!(said.starts_with("protected (") && said.ends_with("pattern \"\" must not be empty"), "{said}");
    assert!(!said.contains("not set"), "{said}");
    assert!(problem(&format!("protected = 7\n{LEAST}"), &[]).starts_with("protected ("));
}

#[test]
fn publishers_are_others_than_the_worker() {
    assert!(load(LEAST, &[]).unwrap().publishers.is_none());
    let own = ("BROKER__URL", "amqp://the%20worker:x@h/%2f");
    let publishers = load(LEAST, &[own, ("PUBLISHERS__ALLOW", "privacy, desk")]).unwrap().publishers.unwrap();
    assert_eq!((publishers.allow, publishers.own), (vec!["privacy".into(), "desk".into()], "the worker".into()));
    for (pairs, rule) in [
        (&[own, ("PUBLISHERS__ALLOW", "")][..], "must name RabbitMQ users"),
        (&[own, ("PUBLISHERS__ALLOW", "privacy,the worker")], "must not name the worker's own user"),
        (&[("PUBLISHERS__ALLOW", "guest")], "must not name the worker's own user"),
        (&[("BROKER__URL", "amqps://h/%2f?auth_mechanism=external"), ("PUBLISHERS__ALLOW", "desk")], "needs a user in"),
        (&[("BROKER__URL", "amqp://h/%2f"), ("PUBLISHERS__ALLOW", "desk")], "needs a user in"),
    ] {
        let said = problem(LEAST, pairs);
        let starts = format!("publishers.allow (ASSET_ERASER__PUBLISHERS__ALLOW): {rule}");
        assert!(said.starts_with(&starts), "{said}\nshould start with {starts}");
    }
}

#[test]
fn the_nodes_of_a_broker_are_named_as_a_list_or_separated_by_commas_or_lines() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = |loaded: &BrokerSettings| -> Vec<String> {
        let urls = loaded.urls.iter().map(|url| url::Url::parse(url.expose_secret()).unwrap());
        urls.map(|url| format!("{}:{}", url.host_str().unwrap(), url.password().unwrap())).collect()
    };
    let load = |name: &str, text: &str, variables: &[(&str, &str)]| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        Settings::load_broker(Some(&path), env(variables))
    };
    let (one, two) = ("amqp://u:a,b@one/v", "amqp://u:c@two:1/v");
    let file = dir.path().join("urls");
    std::fs::write(&file, format!("{one}\n{two}\r\n\n")).unwrap();
    let named = format!("[broker]\nurl_file = {:?}\n", file.to_str().unwrap());
    for (text, variable) in [
        (format!("[broker]\nurl = [{one:?}, {two:?}]\n"), None),
        (named, None),
        (String::new(), Some(format!("{one},{two}"))),
        (String::new(), Some(format!("{one}\n{two},"))),
    ] {
        let variables: Vec<_> = variable.iter().map(|urls| ("BROKER__URL", urls.as_str())).collect();
        let loaded = load("file", &text, &variables).unwrap();
        assert_eq!(hosts(&loaded), ["one:a,b", "two:c"], "{text} {variable:?}");
        assert_eq!(loaded.current_urls().len(), 2);
    }
    for (text, said) in [
        ("[broker]\nurl = []\n", "must be amqp://"),
        ("[broker]\nurl = [\"amqp://u:s3cret@one\", 7]\n", "a list of URLs"),
        ("[broker]\nurl = [\"amqp://u:s3cret@one\", \"amqp://v:s3cret@two\"]\n", "one user"),
        ("[broker]\nurl = [\"amqp://u:s3cret@one\", \"amqps://u:s3cret@two\"]\n", "one scheme"),
        ("[broker]\nurl = [\"amqp://u:s3cret@one\", \"amqp://u:s3@cret@two\"]\n", "%40"),
    ] {
        let told = load("file", text, &[]).unwrap_err().to_string();
        assert!(told.contains(said) && !told.contains("s3"), "{told}");
    }
}

#[test]
fn the_broker_alone_can_be_loaded_and_shown_without_its_password() {
    let broker = |file: &str, pairs: &[(&str, &str)]| {
        let mut path = tempfile::NamedTempFile::new().unwrap();
        path.write_all(file.as_bytes()).unwrap();
        Settings::load_broker(Some(path.path()), env(pairs))
    };
    let loaded = broker("[provider]\ntimeout = \"1s\"\n", &[("BROKER__PREFIX", "other")]).unwrap();
    assert_eq!((loaded.prefix.as_str(), loaded.user().as_deref()), ("other", Some("guest")));
    assert_eq!(loaded.place(), "127.0.0.1:5672, virtual host /");
    let loaded = broker("[broker]\nurl = \"amqps://the%20desk:s3cret@mq.example/a%2fb\"\n", &[]).unwrap();
    assert_eq!((loaded.place(), loaded.user()), ("mq.example:5671, virtual host a/b".into(), Some("the desk".into())));
    assert_eq!(broker("[broker]\nurl = \"amqp://h:1\"\n", &[]).unwrap().place(), "h:1, virtual host /");
    assert_eq!(broker("[broker]\nurl = \"amqp://h\"\n", &[]).unwrap().user(), None);
    for (file, starts) in
        [("[broker]\nprefix = \"\"\n", "broker.prefix ("), ("[provider]\ntimeot = \"1s\"\n", "provider.timeot (")]
    {
        let said = broker(file, &[]).unwrap_err().to_string();
        assert!(said.starts_with(starts), "{said}");
    }
}

#[test]
fn no_error_shows_a_secret() {
    for (file, pairs) in [
        ("[provider]\ntoken = [\"s3cret\"]\n", &[][..]),
        ("[provider]\ntoken = \"s3cret\n", &[]),
        ("[broker]\nurl = \"amqp//u:s3cret@h\"\n", &[]),
        (LEAST, &[("BROKER__URL", "ftp://u:s3cret@h")]),
        (LEAST, &[("PROVIDER__TOKEN", "s3cret with space")]),
    ] {
        let said = problem(file, pairs);
        assert!(!said.contains("s3cret"), "{said}");
    }
    assert!(!format!("{:?}", load(LEAST, &[]).unwrap()).contains("tok-en"));
}

#[test]
fn a_list_is_no_section() {
    for (file, starts) in [
        ("worker = [4]\n", "worker ("),
        ("provider = []\n", "provider ("),
        ("[guard]\nhttp = [\"http://jobs/{asset_id}\"]\n", "guard.http ("),
        ("[[retry]]\nmax_age = \"1h\"\n", "retry ("),
    ] {
        let said = problem(file, &[]);
        assert!(said.starts_with(starts) && said.contains("must be a section"), "{said}");
    }
}

#[test]
fn a_file_that_never_ends_is_not_read_to_its_end() {
    let said = Settings::load(Some(Path::new("/dev/zero")), env(&[])).unwrap_err().to_string();
    assert!(said.starts_with("settings file /dev/zero: cannot be read: it is longer than"), "{said}");
    let said = problem("[guard]\nnone = true\n", &[("PROVIDER__TOKEN_FILE", "/dev/zero")]);
    assert!(said.contains("/dev/zero cannot be read: it is longer than"), "{said}");
}

#[test]
fn only_a_variable_of_ours_has_to_be_text() {
    let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let text = |text: &str| OsString::from(text);
    let others = [(bytes(b"OTHER_\xff"), text("x")), (text("OTHER"), bytes(b"\xff"))];
    let ours = (text("ASSET_ERASER__LOG__LEVEL"), text("warn"));
    let read = variables(others.into_iter().chain([ours])).unwrap();
    assert_eq!(read, [("ASSET_ERASER__LOG__LEVEL".to_owned(), "warn".to_owned())]);
    let said = variables([(text("ASSET_ERASER__PROVIDER__TOKEN"), bytes(b"s3cret\xff"))]).unwrap_err().to_string();
    assert_eq!(said, "provider.token (ASSET_ERASER__PROVIDER__TOKEN): is not UTF-8");
    let said = variables([(bytes(b"ASSET_ERASER__LOG__\xff"), text("x"))]).unwrap_err().to_string();
    assert!(said.starts_with("log.\u{fffd} ("), "{said}");
}

#[test]
fn a_key_of_many_parts_is_no_setting() {
    let said = problem(LEAST, &[(&"A__".repeat(40_000), "x")]);
    assert!(said.contains("is no setting: it has too many parts"), "{}", &said[..100]);
}

#[test]
fn a_mounted_token_file_is_read_without_its_newline() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"from-a-file\n").unwrap();
    let settings = load("[guard]\nnone = true\n", &[("PROVIDER__TOKEN_FILE", file.path().to_str().unwrap())]).unwrap();
    assert_eq!(settings.provider.token.expose_secret(), "from-a-file");
}

#[test]
fn spans_are_sent_where_a_collector_is_named() {
    assert!(load(LEAST, &[]).unwrap().tracing.is_none());
    let tracing = |pairs: &[(&str, &str)]| load(LEAST, pairs).map(|settings| settings.tracing.unwrap());
    let all = tracing(&[("TRACING__OTLP_ENDPOINT", "http://collector:4318")]).unwrap();
    assert_eq!(all.otlp_endpoint.as_str(), "http://collector:4318/v1/traces");
    assert_eq!((all.sample_ratio.to_string().as_str(), all.service_name.as_str()), ("1", "asset-eraser"));
    let own = [("TRACING__OTLP_ENDPOINT", "https://c/otlp/v1/traces"), ("TRACING__SAMPLE_RATIO", "0.5")];
    assert_eq!(tracing(&own).unwrap().otlp_endpoint.as_str(), "https://c/otlp/v1/traces");
    let endpoint = ("TRACING__OTLP_ENDPOINT", "http://c");
    for (pairs, told) in [
        (vec![("TRACING__OTLP_ENDPOINT", "grpc://c:4317")], "tracing.otlp_endpoint"),
        (vec![("TRACING__OTLP_ENDPOINT", "http://me:s3cr3t@c")], "tracing.otlp_endpoint"),
        (vec![("TRACING__OTLP_ENDPOINT", "http://c?key=s3cr3t")], "tracing.otlp_endpoint"),
        (
            vec![("TRACING__OTLP_TOKEN", "s3cr3t")],
            "tracing.otlp_token (ASSET_ERASER__TRACING__OTLP_TOKEN): is of no use",
        ),
        (
            vec![("TRACING__SAMPLE_RATIO", "0.5")],
            "tracing.sample_ratio (ASSET_ERASER__TRACING__SAMPLE_RATIO): is of no",
        ),
        (vec![endpoint, ("TRACING__SAMPLE_RATIO", "1.5")], "tracing.sample_ratio"),
        (vec![endpoint, ("TRACING__SAMPLE_RATIO", "NaN")], "tracing.sample_ratio"),
        (vec![endpoint, ("TRACING__SERVICE_NAME", "")], "tracing.service_name"),
    ] {
        let problem = problem(LEAST, &pairs);
        assert!(problem.starts_with(told) && !problem.contains("s3cr3t"), "{problem}");
    }
    for one in [
        "[tracing]\notlp_endpoint = \"http://c\"\nsample_ratio = 1\n",
        "[tracing]\notlp_endpoint = \"http://c\"\nsample_ratio = 1.0\n",
    ] {
        assert!(load(&format!("{LEAST}{one}"), &[]).is_ok());
    }
}
