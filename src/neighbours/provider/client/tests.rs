//! Against a real socket, because what matters here is how a connection fails.

use std::time::Duration;

use secrecy::SecretString;
use tokio::net::TcpListener;

use super::*;
use crate::neighbours::provider::Meaning;
use crate::platform::test_http::Server;
use crate::settings::Concurrency;

const TOKEN: &str = "very-secret-token";
const CAT: &str = r#"{"code":0,"msg":null,"data":{"name":"Cat","assetId":"a-1","assetType":"Image","createTime":"2026-03-30 14:21:58"}}"#;

fn base(server: &Server) -> Url {
    format!("{}/kyyReactApiServer", server.origin).parse().unwrap()
}

fn http(head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

fn settings(base_url: Url) -> settings::ProviderSettings {
    let set = [("PROVIDER__TOKEN", TOKEN), ("PROVIDER__CONNECT_TIMEOUT", "1s"), ("PROVIDER__TIMEOUT", "400ms")];
    settings::ProviderSettings { base_url, ..settings::Settings::with(&set).provider }
}

fn gate() -> Gate {
    Gate::new(Concurrency::Fixed(1), None, Metrics::new().unwrap())
}

fn client(base: &Url) -> Client {
    Client::new(&settings(base.clone()), gate(), Metrics::new().unwrap()).unwrap()
}

fn asset() -> AssetId {
    AssetId::parse("a-1").unwrap()
}

async fn detail_of(answer: impl Into<Vec<u8>>, then_hang: bool) -> Answer<Detail> {
    let server = Server::answering(answer, then_hang).await;
    let answer = client(&base(&server)).detail(gate().pass().await, &asset(), &TraceContext::default()).await;
    assert_eq!(server.asked().len(), 1, "one attempt");
    answer
}

fn fault<T>(answer: &Answer<T>) -> Option<Fault> {
    match answer.meaning {
        Meaning::Retry { why, .. } => Some(why),
        _ => None,
    }
}

#[tokio::test]
async fn each_call_goes_where_it_should_with_key_and_trace() {
    let server = Server::answering(http("200 OK", CAT), false).await;
    let client = client(&base(&server));
    let trace = TraceContext { traceparent: Some("00-aa-bb-01".into()), tracestate: Some("bad\nvalue".into()) };
    assert!(matches!(client.detail(client.gate().pass().await, &asset(), &trace).await.meaning, Meaning::Found(_)));
    assert_eq!(client.delete(client.gate().pass().await, &asset(), &trace).await.meaning, Meaning::Found(()));
    client.job("video_1.x-2", &trace).await;
    assert_eq!(fault(&client.probe().await), Some(Fault::WrongAsset));
    let asked = server.asked();
    for (request, line) in asked.iter().zip([
        "GET /kyyReactApiServer/kyyVideo2/asset/a-1 HTTP/1.1\r\n",
        "DELETE /kyyReactApiServer/kyyVideo2/asset/a-1 HTTP/1.1\r\n",
        "GET /kyyReactApiServer/v1/result/video_1.x-2 HTTP/1.1\r\n",
        "GET /kyyReactApiServer/kyyVideo2/asset/asset-eraser-probe HTTP/1.1\r\n",
    ]) {
        assert!(request.starts_with(line), "{request}");
        assert!(request.contains("authorization: Bearer very-secret-token\r\n"), "{request}");
        assert!(!request.contains("tracestate"), "{request}");
    }
    assert!(asked[0].contains("traceparent: 00-aa-bb-01\r\n"));
    assert_eq!(asked.len(), 4);
}

#[tokio::test]
async fn a_broken_exchange_is_told_apart() {
    assert_eq!(fault(&detail_of("", false).await), Some(Fault::Cut));
    assert_eq!(fault(&detail_of("HTTP/1.1 200 OK\r\nconte", false).await), Some(Fault::Cut));
    assert_eq!(fault(&detail_of("not http at all\r\n\r\n", false).await), Some(Fault::Cut));
    let half = http("200 OK", CAT);
    assert_eq!(fault(&detail_of(&half[..half.len() - 9], false).await), Some(Fault::Cut));
    assert_eq!(fault(&detail_of("", true).await), Some(Fault::Timeout));
    assert_eq!(fault(&detail_of(&half[..half.len() - 9], true).await), Some(Fault::Timeout));
}

#[tokio::test]
async fn nobody_listening_is_a_connect_fault_whose_words_hold_no_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let answer = client(&base).delete(gate().pass().await, &asset(), &TraceContext::default()).await;
    assert_eq!(fault(&answer), Some(Fault::Connect));
    assert!(!format!("{answer:?}").contains("127.0.0.1"));
}

#[tokio::test]
async fn a_too_large_body_is_not_read_whether_announced_or_not() {
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n";
    assert_eq!(fault(&detail_of(announced, true).await), Some(Fault::TooLarge));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(transport::BODY_LIMIT + 1));
    assert_eq!(fault(&detail_of(endless, true).await), Some(Fault::TooLarge));
    let just_fits = format!("{CAT}{}", " ".repeat(transport::BODY_LIMIT - CAT.len()));
    assert!(matches!(detail_of(http("200 OK", &just_fits), false).await.meaning, Meaning::Found(_)));
}

fn compressed(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, body).unwrap();
    let body = gzip.finish().unwrap();
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), &body].concat()
}

#[tokio::test]
async fn a_compressed_answer_is_read_up_to_the_same_size() {
    let found = detail_of(compressed("gzip", CAT.as_bytes()), false).await;
    assert!(matches!(found.meaning, Meaning::Found(_)), "{found:?}");
    let bomb = compressed("gzip", &vec![b' '; 20 * transport::BODY_LIMIT]);
    assert!(bomb.len() < transport::BODY_LIMIT);
    assert_eq!(fault(&detail_of(bomb, false).await), Some(Fault::TooLarge));
    let brotli = detail_of(compressed("br", CAT.as_bytes()), false).await;
    assert_eq!(fault(&brotli), Some(Fault::Encoding));
    assert!(brotli.seen.as_ref().is_some_and(|seen| seen.contains("Content-Encoding: br")), "{brotli:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 307, 308] {
        let elsewhere = Server::answering(http("200 OK", CAT), false).await;
        let head = format!("{status} Moved\r\nlocation: {}", base(&elsewhere));
        let answer = detail_of(http(&head, ""), false).await;
        assert_eq!(fault(&answer), Some(Fault::Status(status)));
        assert!(elsewhere.asked().is_empty());
    }
}

#[tokio::test]
async fn a_refused_key_and_a_missing_route_are_not_about_the_asset() {
    let refused = detail_of(http("401 Unauthorized", "no"), false).await;
    assert_eq!(refused.meaning, Meaning::KeyRefused(401));
    let body = r#"{"message":"No handler found for GET /x"}"#;
    let missing = detail_of(http("404 Not Found", body), false).await;
    assert_eq!(fault(&missing), Some(Fault::NoRoute));
    assert_eq!(missing.msg.as_deref(), Some("No handler found for GET /x"));
}

#[tokio::test]
async fn a_retry_after_is_read_in_both_forms() {
    let after = async |value: &str| {
        let head = format!("429 Too Many Requests\r\nretry-after: {value}");
        match detail_of(http(&head, ""), false).await.meaning {
            Meaning::Retry { after, why } => (after, why),
            other => panic!("{other:?}"),
        }
    };
    let busy = Fault::TooMany(429);
    assert_eq!(after("7").await, (Some(Duration::from_secs(7)), busy));
    assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT").await, (Some(Duration::ZERO), busy));
    assert_eq!(after("later").await, (None, busy));
}

#[tokio::test]
async fn a_code_zero_without_data_or_about_another_asset_is_no_answer() {
    let empty = detail_of(http("200 OK", r#"{"code":0,"msg":null,"data":null}"#), false).await;
    assert_eq!(fault(&empty), Some(Fault::Unreadable));
    let other = detail_of(http("200 OK", &CAT.replace("a-1", "a-2")), false).await;
    assert_eq!(fault(&other), Some(Fault::WrongAsset));
    let gone = detail_of(http("200 OK", r#"{"code":-1,"msg":"x","data":null}"#), false).await;
    assert_eq!(gone.meaning, Meaning::Gone);
    assert_eq!(gone.code.as_deref(), Some("-1"));
}

#[tokio::test]
async fn a_job_id_that_could_lead_elsewhere_is_not_asked_about() {
    let server = Server::answering(http("200 OK", r#"{"status":"completed"}"#), false).await;
    let client = client(&base(&server));
    let long = "j".repeat(129);
    for job in ["", ".", "..", "a/b", "../x", "a?b", "a#b", "a%2Fb", "a b", "a\n", "é", &long] {
        let answer = client.job(job, &TraceContext::default()).await;
        assert_eq!(fault(&answer), Some(Fault::Unreadable), "{job}");
    }
    assert!(server.asked().is_empty());
    let longest = client.job(&long[1..], &TraceContext::default()).await;
    assert_eq!(longest.meaning, Meaning::Found(JobStatus::Completed));
}

#[test]
fn an_endpoint_never_leaves_its_folder() {
    for base in ["https://h/api", "https://h/api/", "https://h/api?x=1#y"] {
        let base = base.parse().unwrap();
        let path = |id| after(&base, &ASSET.replace("{asset_id}", &encoded(id)));
        let made = |id| endpoint(&base, &path(id), id).map(String::from);
        assert_eq!(made("a-1._").as_deref(), Some("https://h/api/kyyVideo2/asset/a-1._"));
        assert_eq!(made("a/b").as_deref(), Some("https://h/api/kyyVideo2/asset/a%2Fb"));
        assert_eq!(made("\t").as_deref(), Some("https://h/api/kyyVideo2/asset/%09"));
        for id in ["", ".", "..", "%2e", "%2e%2E"] {
            let url = made(id);
            assert!(url.is_none() || url.as_deref().is_some_and(|url| url.contains("/asset/%25")), "{id} {url:?}");
        }
    }
}

#[test]
fn a_bad_setting_is_named_and_not_shown() {
    let mut bad = settings("http://h/".parse().unwrap());
    bad.token = SecretString::from("line\nbreak");
    let error = Client::new(&bad, gate(), Metrics::new().unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("provider.token") && !format!("{error:?}").contains("break"));
    let bad = settings("mailto:a@b".parse().unwrap());
    assert!(matches!(Client::new(&bad, gate(), Metrics::new().unwrap()), Err(ProviderError::BaseUrl)));
    let shown = format!("{:?}", client(&"http://h/".parse().unwrap()));
    assert!(!shown.contains(TOKEN), "{shown}");
}

#[test]
fn a_job_is_where_its_setting_says() {
    let base: Url = "https://h/api".parse().unwrap();
    for (template, url) in [
        ("/v1/result/{job_id}", "https://h/api/v1/result/j-1"),
        ("/v2/model-center/tasks/{job_id}", "https://h/api/v2/model-center/tasks/j-1"),
        ("/task?id={job_id}&full=1", "https://h/api/task?id=j-1&full=1"),
        ("https://h/other/tasks/{job_id}", "https://h/other/tasks/j-1"),
    ] {
        let made = job_endpoint(&base, &job_path(&base, template), "j-1");
        assert_eq!(made.map(String::from).as_deref(), Some(url));
    }
}
