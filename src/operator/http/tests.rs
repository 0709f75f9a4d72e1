//! Real GETs over a real socket.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::contract::message::{Outcome, Proof};
use crate::contract::reasons::Stop;

const SOON: Duration = Duration::from_secs(10);

struct TestServer {
    address: SocketAddr,
    metrics: Metrics,
    line: Intake,
    ledger: Ledger,
    broker: watch::Sender<BrokerState>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

async fn server(broker: BrokerState) -> TestServer {
    server_with(broker, None).await
}

async fn server_with(broker: BrokerState, token: Option<&str>) -> TestServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Metrics::new().unwrap();
    let line = Intake::new(metrics.clone());
    let (broker, watched) = watch::channel(broker);
    let shutdown = CancellationToken::new();
    let ledger = Ledger::open(&"memory:".into(), metrics.clone()).await.unwrap();
    let state = HttpState {
        metrics: metrics.clone(),
        line: line.clone(),
        broker: watched,
        ledger: ledger.clone(),
        token: token.map(Into::into),
        dry_run: false,
        console: None,
    };
    let running = tokio::spawn(serve(Listeners { http: listener, console: None }, state, shutdown.clone()));
    TestServer { address, metrics, line, ledger, broker, shutdown, running }
}

/// The status, the head and the body of the answer.
async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    get_with(address, path, "").await
}

async fn get_with(address: SocketAddr, path: &str, header: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{header}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

async fn readiness(address: SocketAddr) -> (u16, serde_json::Value) {
    let (status, head, body) = get(address, "/readyz").await;
    assert!(head.contains("content-type: application/json"), "{head}");
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn alive_even_when_not_ready() {
    let server = server(BrokerState::Connecting).await;
    let (status, _, body) = get(server.address, "/livez").await;
    assert_eq!((status, body.as_str()), (200, "ok"));
    assert_eq!(get(server.address, "/nothing-here").await.0, 404);
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let server = server(BrokerState::Connected).await;
    server.metrics.request_received();
    let (status, head, body) = get(server.address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("asset_eraser_requests_received_total 1\n"), "{body}");
}

#[tokio::test]
async fn ready_only_while_the_broker_is_connected() {
    let server = server(BrokerState::Connecting).await;
    for (state, name, status) in [
        (BrokerState::Connecting, "connecting", 503),
        (BrokerState::Connected, "connected", 200),
        (BrokerState::Blocked, "blocked", 503),
    ] {
        server.broker.send_replace(state);
        let expected = serde_json::json!({"ready": status == 200, "broker": name, "dry_run": false, "stopped": []});
        assert_eq!(readiness(server.address).await, (status, expected));
    }
}

#[tokio::test]
async fn why_the_broker_refuses_is_said() {
    let server = server(BrokerState::Refused("ACCESS_REFUSED".into())).await;
    let expected = serde_json::json!({
        "ready": false, "broker": "connecting", "broker_why": "ACCESS_REFUSED", "dry_run": false, "stopped": [],
    });
    assert_eq!(readiness(server.address).await, (503, expected));
}

#[tokio::test]
async fn not_ready_while_the_line_is_stopped_and_says_why() {
    let server = server(BrokerState::Connected).await;
    server.line.stop(Stop::Ledger, "disk full".into());
    let expected = serde_json::json!({
        "ready": false, "broker": "connected", "dry_run": false, "stopped": [{"cause": "ledger", "why": "disk full"}],
    });
    assert_eq!(readiness(server.address).await, (503, expected));
    server.line.resume(Stop::Ledger);
    assert_eq!(readiness(server.address).await.0, 200);
}

#[tokio::test]
async fn not_ready_once_nobody_keeps_the_connection() {
    let TestServer { address, broker, running: _running, .. } = server(BrokerState::Connected).await;
    drop(broker);
    let (status, body) = readiness(address).await;
    assert_eq!((status, &body["broker"]), (503, &"connecting".into()));
}

#[tokio::test]
async fn shutdown_ends_it_although_a_client_says_nothing() {
    let server = server(BrokerState::Connected).await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(get(server.address, "/livez").await.0, 200);
    server.shutdown.cancel();
    timeout(SOON, server.running).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn an_asset_and_a_request_are_told_from_the_ledger() {
    let server = server(BrokerState::Connected).await;
    let body = |answer: (u16, String, String)| {
        let (status, head, body) = answer;
        assert!(head.contains("cache-control: no-store") && head.contains("content-type: application/json"), "{head}");
        (status, serde_json::from_str::<serde_json::Value>(&body).unwrap())
    };
    let unknown = body(get(server.address, "/v1/assets/a").await);
    assert_eq!(unknown, (404, serde_json::json!({"asset_id": "a", "state": "unknown"})));
    assert_eq!(body(get(server.address, "/v1/requests/case%2F7").await).0, 404);
    let request_id = crate::contract::message::RequestId::parse("case/7").unwrap();
    let asset_id = crate::contract::message::AssetId::parse("a").unwrap();
    let asked = crate::neighbours::ledger::Asked {
        request_id: request_id.clone(),
        asset_id,
        case_id: None,
        dry_run: false,
        backup: None,
        request: "{}".into(),
    };
    let begun = server.ledger.begin(asked, crate::neighbours::ledger::Beside::NoSuspect).await.unwrap();
    let crate::neighbours::ledger::Begun::Open(record) = begun else { panic!("it is new: {begun:?}") };
    let (status, requested) = body(get(server.address, "/v1/assets/a").await);
    assert_eq!((status, &requested["state"], &requested["request_id"]), (200, &"requested".into(), &"case/7".into()));
    server
        .ledger
        .decide(&record.attempt, &Outcome::Deleted(Proof::Erased), |_| r#"{"id":"e"}"#.to_owned())
        .await
        .unwrap();
    assert_eq!(body(get(server.address, "/v1/assets/a").await).1["state"], "deleted");
    let (status, decided) = body(get(server.address, "/v1/requests/case%2F7").await);
    assert_eq!((status, &decided["state"], &decided["event"]["id"]), (200, &"decided".into(), &"e".into()));
    let (status, error) = body(get(server.address, "/v1/assets/a%2Fb").await);
    assert_eq!(status, 400);
    assert!(error["error"].as_str().unwrap().starts_with("asset_id: may hold only"), "{error}");
}

#[tokio::test]
async fn the_ledger_is_told_only_to_who_knows_the_token() {
    let server = server_with(BrokerState::Connected, Some("status-key")).await;
    for header in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic status-key\r\n"] {
        let (status, head, body) = get_with(server.address, "/v1/assets/a", header).await;
        assert_eq!(status, 401, "{header}");
        assert!(head.contains("www-authenticate: bearer") && !body.contains("status-key"), "{head}{body}");
    }
    let (status, ..) = get_with(server.address, "/v1/assets/a", "Authorization: Bearer status-key\r\n").await;
    assert_eq!(status, 404);
    let (status, ..) = get(server.address, "/livez").await;
    assert_eq!(status, 200, "probes need no token");
}

/// A connection over which this part of a request was sent.
async fn begun(address: SocketAddr, part: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(part.as_bytes()).await.unwrap();
    stream
}

async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut answer = Vec::new();
    timeout(within, stream.read_to_end(&mut answer)).await.is_ok()
}

#[tokio::test]
async fn idle_and_half_sent_connections_give_way_to_the_next_one() {
    let server = server(BrokerState::Connected).await;
    let most = super::server::most_connections();
    let mut first = begun(server.address, "").await;
    let mut others = Vec::new();
    for number in 0..most + 20 {
        let part = ["", "GET /livez HTTP/1.1\r\nHost: x\r\n"][number % 2];
        others.push(begun(server.address, part).await);
    }
    assert!(is_closed(&mut first, Duration::from_secs(5)).await, "the one that was idle longest");
    assert_eq!(get(server.address, "/livez").await.0, 200);
    let (_, _, metrics) = get(server.address, "/metrics").await;
    let open = metrics.lines().find_map(|line| line.strip_prefix("asset_eraser_http_connections ")).unwrap();
    assert!(open.parse::<usize>().unwrap() <= most, "{open} of {most}");
    assert!(!metrics.contains("asset_eraser_http_connections_displaced_total 0"));
}

#[tokio::test]
async fn a_connection_has_ten_seconds_for_a_head_and_for_being_idle() {
    let server = server(BrokerState::Connected).await;
    let mut all = Vec::new();
    for part in ["", "GET /liv", "GET /livez HTTP/1.1\r\nHost: x\r\n", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"] {
        all.push((part, begun(server.address, part).await));
    }
    for (part, stream) in &mut all {
        assert!(is_closed(stream, Duration::from_secs(13)).await, "{part:?} stays open");
    }
}
