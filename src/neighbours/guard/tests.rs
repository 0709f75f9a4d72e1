//! Against small real HTTP servers: a registry and a provider.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use secrecy::SecretString;

use super::job_states::FINISHED;
use super::*;
use crate::neighbours::pace::gate::Gate;
use crate::settings::Concurrency;

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn registry(status: u16, body: impl Into<String>) -> String {
    let body = body.into();
    let status = StatusCode::from_u16(status).unwrap();
    let answer = move |Path(asset): Path<String>, headers: HeaderMap| async move {
        assert_eq!(asset, "a-1");
        assert_eq!(headers["authorization"], "Bearer registry-token");
        (status, body)
    };
    serve(Router::new().route("/jobs/{asset}", get(answer))).await
}

/// Answers for every job with what `statuses` holds; counts the calls.
async fn provider(status: &'static str) -> (String, Arc<AtomicUsize>, Arc<Mutex<&'static str>>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let now = Arc::new(Mutex::new(status));
    let (seen, said) = (Arc::clone(&calls), Arc::clone(&now));
    let answer = move |Path(job): Path<String>| async move {
        seen.fetch_add(1, Ordering::SeqCst);
        let status = *said.lock().unwrap();
        format!(r#"{{"id":"{job}","status":"{status}"}}"#)
    };
    let base = serve(Router::new().route("/v1/result/{job}", get(answer))).await;
    (base, calls, now)
}

fn client(base: &str) -> Client {
    let settings = settings::Settings::with(&[
        ("PROVIDER__BASE_URL", base),
        ("PROVIDER__TOKEN", "provider-token"),
        ("PROVIDER__TIMEOUT", "1s"),
    ])
    .provider;
    let gate = Gate::new(Concurrency::Fixed(1), None, Metrics::new().unwrap());
    Client::new(&settings, gate, Metrics::new().unwrap()).unwrap()
}

fn settings(registry: Option<&str>) -> settings::GuardSettings {
    settings::GuardSettings {
        http: registry.map(|base| settings::HttpGuard {
            url: format!("{base}/jobs/{{asset_id}}").into(),
            token: Some(SecretString::from("registry-token")),
            timeout: Duration::from_millis(500),
        }),
        postgres: None,
        in_progress: vec!["queued".into(), "processing".into()],
        confirm_with_provider: false,
        poll: Duration::from_secs(30),
        none: false,
    }
}

fn guard(settings: &settings::GuardSettings, provider: &str) -> Guard {
    Guard::new(settings, client(provider), Metrics::new().unwrap()).unwrap()
}

async fn check(guard: &Guard) -> GuardAnswer {
    let asset = AssetId::parse("a-1").unwrap();
    guard.check(&asset, &TraceContext::default()).await
}

fn jobs(ids: &[&str]) -> GuardAnswer {
    GuardAnswer::InUse { jobs: ids.iter().map(ToString::to_string).collect() }
}

fn listing(jobs: &[(&str, &str)]) -> String {
    let jobs: Vec<_> = jobs.iter().map(|(id, status)| serde_json::json!({"id": id, "status": status})).collect();
    serde_json::json!({ "jobs": jobs }).to_string()
}

async fn told(status: u16, body: impl Into<String>) -> GuardAnswer {
    let registry = registry(status, body).await;
    check(&guard(&settings(Some(&registry)), "http://127.0.0.1:9/")).await
}

#[tokio::test]
async fn only_jobs_that_are_known_to_have_ended_set_an_asset_free() {
    assert_eq!(told(200, r#"{"jobs":[]}"#).await, GuardAnswer::Free);
    let ended = FINISHED.map(|status| ("j", status));
    assert_eq!(told(200, listing(&ended)).await, GuardAnswer::Free);
    let ended = FINISHED.map(|status| ("j", status.to_uppercase()));
    let ended: Vec<_> = ended.iter().map(|(job, status)| (*job, status.as_str())).collect();
    assert_eq!(told(200, listing(&ended)).await, GuardAnswer::Free);
    for (status, shown) in [
        ("queued", "j"),
        ("processing", "j"),
        (" PROCESSING", "j"),
        ("paused", "j (unknown status \"paused\")"),
        ("", "j (unknown status \"\")"),
    ] {
        let list = listing(&[("over", " Completed "), ("j", status)]);
        assert_eq!(told(200, list).await, jobs(&[shown]), "{status}");
    }
}

#[tokio::test]
async fn a_status_listed_as_in_progress_counts_even_when_it_sounds_like_an_end() {
    let registry = registry(200, listing(&[("j", "completed")])).await;
    let mut settings = settings(Some(&registry));
    settings.in_progress.push("completed".into());
    assert_eq!(check(&guard(&settings, "http://127.0.0.1:9/")).await, jobs(&["j"]));
}

#[tokio::test]
async fn anything_but_a_whole_answer_is_unknown() {
    for (status, body) in [
        (200, r#"{"jobs":[]"#),
        (200, "{}"),
        (204, ""),
        (206, r#"{"jobs":[]}"#),
        (201, r#"{"jobs":[]}"#),
        (302, r#"{"jobs":[]}"#),
        (404, r#"{"jobs":[]}"#),
        (500, r#"{"jobs":[]}"#),
    ] {
        let answer = told(status, body).await;
        assert!(matches!(answer, GuardAnswer::Unknown { .. }), "{status} {body} {answer:?}");
    }
    let long = format!(r#"{{"jobs":[]}}{}"#, " ".repeat(1024 * 1024));
    let why = "job registry: the answer is too large".to_owned();
    assert_eq!(told(200, long).await, GuardAnswer::Unknown { why });
}

/// A registry whose answer has this header.
async fn with_header(name: &'static str, value: &'static str, body: Vec<u8>) -> GuardAnswer {
    let answer = move || async move { ([(name, value)], body.clone()) };
    let base = serve(Router::new().route("/jobs/{asset}", get(answer))).await;
    check(&guard(&settings(Some(&base)), "http://127.0.0.1:9/")).await
}

#[tokio::test]
async fn a_compressed_answer_or_one_with_a_byte_order_mark_is_read() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, br#"{"jobs":[]}"#).unwrap();
    let body = gzip.finish().unwrap();
    assert_eq!(with_header("content-encoding", "gzip", body.clone()).await, GuardAnswer::Free);
    let GuardAnswer::Unknown { why } = with_header("content-encoding", "zstd", body).await else { panic!("zstd") };
    assert!(why.contains("Content-Encoding: zstd"), "{why}");
    assert_eq!(told(200, "\u{feff}{\"jobs\":[]}").await, GuardAnswer::Free);
}

#[tokio::test]
async fn a_page_in_the_place_of_an_answer_says_what_was_seen() {
    let page = with_header("content-type", "text/html", b"<html>blocked".to_vec()).await;
    assert!(matches!(&page, GuardAnswer::Unknown { why } if why.contains("content type text/html")), "{page:?}");
}

#[tokio::test]
async fn a_registry_that_is_down_or_hangs_is_unknown_and_its_address_stays_private() {
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = (format!("http://{}", hanging.local_addr().unwrap()), hanging);
    for base in [hanging.0.as_str(), "http://127.0.0.1:9"] {
        let GuardAnswer::Unknown { why } = check(&guard(&settings(Some(base)), base)).await else { panic!("{base}") };
        assert!(why.starts_with("job registry: no ") && !why.contains("127.0"), "{why}");
    }
}

#[tokio::test]
async fn without_a_source_only_none_sets_free() {
    let mut none = settings(None);
    let answer = check(&guard(&none, "http://127.0.0.1:9/")).await;
    assert!(matches!(answer, GuardAnswer::Unknown { .. }));
    none.none = true;
    assert_eq!(check(&guard(&none, "http://127.0.0.1:9/")).await, GuardAnswer::Free);
}

#[test]
fn a_bad_setting_is_named_and_not_shown() {
    let mut bad = settings(Some("http://user:password@h"));
    let shown = format!("{:?}", guard(&bad, "http://h/"));
    assert!(!shown.contains("password") && !shown.contains("-token"), "{shown}");
    bad.http.as_mut().unwrap().token = Some(SecretString::from("line\nbreak"));
    let error = Guard::new(&bad, client("http://h/"), Metrics::new().unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("guard.http.token"));
    bad.http.as_mut().unwrap().url = "http://password@h/jobs".into();
    let error = Guard::new(&bad, client("http://h/"), Metrics::new().unwrap()).unwrap_err();
    assert!(error.to_string().contains("{asset_id}") && !error.to_string().contains("password"));
}

async fn confirming(list: &[(&str, &str)], provider: &str) -> Guard {
    let registry = registry(200, listing(list)).await;
    let mut settings = settings(Some(&registry));
    settings.confirm_with_provider = true;
    guard(&settings, provider)
}

#[tokio::test]
async fn the_provider_may_say_that_a_job_has_ended() {
    let kept = || jobs(&["j", "k (unknown status \"odd\")"]);
    for (status, answer) in [
        ("completed", GuardAnswer::Free),
        (" COMPLETED ", GuardAnswer::Free),
        ("failed", GuardAnswer::Free),
        ("queued", kept()),
        ("processing", kept()),
        ("odd", kept()),
        ("", kept()),
    ] {
        let (base, ..) = provider(status).await;
        let guard = confirming(&[("j", "processing"), ("k", "odd")], &base).await;
        assert_eq!(check(&guard).await, answer, "{status}");
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_asked_confirms_nothing() {
    let guard = confirming(&[("j", "processing")], "http://127.0.0.1:9/").await;
    assert_eq!(check(&guard).await, jobs(&["j"]));
    let (base, calls, _) = provider("completed").await;
    let guard = confirming(&[("../../kyyVideo2/asset/x\n", "processing")], &base).await;
    assert_eq!(check(&guard).await, jobs(&["../../kyyVideo2/asset/x "]));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_provider_is_asked_about_a_job_once_in_twenty_seconds() {
    let (base, calls, status) = provider("processing").await;
    let guard = confirming(&[("j", "processing")], &base).await;
    let (one, two) = (guard.clone(), guard.clone());
    let (one, two) = tokio::join!(check(&one), check(&two));
    assert_eq!((one, two), (jobs(&["j"]), jobs(&["j"])));
    *status.lock().unwrap() = "completed";
    assert_eq!(check(&guard).await, jobs(&["j"]));
    assert_eq!(calls.load(Ordering::SeqCst), 1);

    let mut later = guard.clone();
    later.confirmer.as_mut().unwrap().fresh = Duration::ZERO;
    assert_eq!(check(&later).await, GuardAnswer::Free);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// A registry whose answers come one after the other; the last one stays.
async fn changing(lists: Vec<String>) -> String {
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = move || async move {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        lists[number.min(lists.len() - 1)].clone()
    };
    serve(Router::new().route("/jobs/{asset}", get(answer))).await
}

#[tokio::test]
async fn a_job_that_starts_while_another_is_confirmed_keeps_the_asset() {
    let (ended, both) = ([("j", "processing")], [("j", "processing"), ("new", "queued")]);
    for (second, answer) in [
        (listing(&ended), GuardAnswer::Free),
        (listing(&[]), GuardAnswer::Free),
        (listing(&both), jobs(&["new"])),
        (listing(&[("new", "queued")]), jobs(&["new"])),
    ] {
        let registry = changing(vec![listing(&ended), second.clone()]).await;
        let mut settings = settings(Some(&registry));
        settings.confirm_with_provider = true;
        let (base, ..) = provider("completed").await;
        assert_eq!(check(&guard(&settings, &base)).await, answer, "{second}");
    }
    let registry = changing(vec![listing(&ended), "{".to_owned()]).await;
    let mut settings = settings(Some(&registry));
    settings.confirm_with_provider = true;
    let (base, ..) = provider("completed").await;
    assert!(matches!(check(&guard(&settings, &base)).await, GuardAnswer::Unknown { .. }));
}

/// A registry that takes this long for each answer, and says "free" until `from` after its start.
async fn slow(takes: &'static [u64], busy_from: Duration) -> (GuardSource, Arc<AtomicUsize>) {
    let (asked, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let seen = Arc::clone(&asked);
    let answer = move || async move {
        let number = seen.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(takes[number.min(takes.len() - 1)])).await;
        listing(if began.elapsed() < busy_from { &[] } else { &[("new", "queued")] })
    };
    let base = serve(Router::new().route("/jobs/{asset}", get(answer))).await;
    let mut settings = settings(Some(&base)).http.unwrap();
    settings.timeout = Duration::from_secs(20);
    (GuardSource::Http(Registry::new(&settings).unwrap()), asked)
}

const NEVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_free_that_has_grown_old_beside_a_slow_source_is_asked_for_again() {
    let mut guard = guard(&settings(None), "http://127.0.0.1:9/");
    // The job starts after the quick source has answered and before the slow one does.
    let (quick, _) = slow(&[0], Duration::from_millis(500)).await;
    guard.sources = vec![quick, slow(&[1500], NEVER).await.0];
    assert_eq!(check(&guard).await, jobs(&["new"]));
    // Only the quick one is asked again, and a source beside a quick one is asked once.
    for (second, times) in [(&[1500], 2), (&[10], 1)] {
        let ((one, first), (two, later)) = (slow(&[0], NEVER).await, slow(second, NEVER).await);
        guard.sources = vec![one, two];
        assert_eq!(check(&guard).await, GuardAnswer::Free);
        assert_eq!((first.load(Ordering::SeqCst), later.load(Ordering::SeqCst)), (times, 1));
    }
}

#[tokio::test]
async fn slow_sources_are_asked_so_that_they_answer_together_or_the_asset_is_kept() {
    let mut guard = guard(&settings(None), "http://127.0.0.1:9/");
    let ((one, first), (two, later)) = (slow(&[1200], NEVER).await, slow(&[2600], NEVER).await);
    guard.sources = vec![one, two];
    assert_eq!(check(&guard).await, GuardAnswer::Free);
    assert_eq!((first.load(Ordering::SeqCst), later.load(Ordering::SeqCst)), (2, 2));
    // One that takes another time at every question is no witness of the same moment.
    let ((one, first), (two, later)) = (slow(&[0, 1500, 0], NEVER).await, slow(&[1500, 3000, 3000], NEVER).await);
    guard.sources = vec![one, two];
    let answer = check(&guard).await;
    assert!(matches!(&answer, GuardAnswer::Unknown { why } if why.contains("of each other")), "{answer:?}");
    let times = (first.load(Ordering::SeqCst), later.load(Ordering::SeqCst));
    assert!(times.0 <= ROUNDS && times.1 <= ROUNDS, "{times:?}");
}
