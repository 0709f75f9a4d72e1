//! Proxies and web filters between the worker and the provider: what they answer is neither a refused key nor a fault of a
//! request, and the reason of the stop names them.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{outcome, until, world};

/// A proxy that refuses every call; its address.
async fn refusing() -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn a_page_of_a_web_filter_stops_consuming_and_is_described() {
    let mut world = world(&[]).await;
    let headers = json!({"Content-Type": "text/html", "Via": "1.1 filter.example", "Server": "squid/5.7"});
    let page = json!({"answer": {"status": 403, "headers": headers, "body": "<html>blocked by policy</html>"}});
    world.sandbox.fault("detail", "", 0, page).await;
    world.sandbox.add("a").await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    let stopped = world.until_ready(false).await["stopped"][0].clone();
    assert_eq!(stopped["cause"], "provider_down");
    for part in ["403", "text/html", "1.1 filter.example", "squid/5.7", "no proxy is set"] {
        assert!(stopped["why"].as_str().unwrap().contains(part), "{stopped}");
    }
    let mut check = world.command("check");
    assert!(!check.ended().await.success());
    assert!(check.output().contains("1.1 filter.example") && !check.output().contains("key is refused"));
    world.sandbox.no_faults().await;
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("deleted", ""));
    world.until_ready(true).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_page_for_one_asset_only_ends_its_request() {
    let mut world = world(&[]).await;
    let page = json!({"answer": {"status": 403, "headers": {"Content-Type": "text/html"}, "body": "<html>"}});
    world.sandbox.fault("detail", "a", 0, page).await;
    let event = world.delete("a").await;
    assert_eq!(outcome(&event), ("failed", "attempts_exhausted"));
    assert!(event["data"]["detail"].as_str().unwrap().contains("content type text/html"), "{event}");
    let page = json!({"answer": {"status": 502, "headers": {"Content-Type": "text/html"}, "body": "<html>"}});
    world.sandbox.fault("delete", "b", 0, page).await;
    let event = world.delete("b").await;
    assert_eq!(outcome(&event), ("failed", "attempts_exhausted"));
    assert!(event["data"]["detail"].as_str().unwrap().contains("content type text/html"), "{event}");
    world.finish(0).await;
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    let mut world = world(&[]).await;
    let (address, _proxy) = refusing().await;
    world.stop_worker().await;
    for name in ["http_proxy", "https_proxy"] {
        world.environment.push((name.into(), format!("http://user:proxy-password@{address}")));
    }
    world.environment.push(("no_proxy".into(), "unused.example".into()));
    world.start_worker().await;
    world.sandbox.add("a").await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    let stopped = world.until_ready(false).await["stopped"][0].clone();
    assert_eq!(stopped["cause"], "provider_down");
    assert!(stopped["why"].as_str().unwrap().contains(&address), "{stopped}");
    // For an https URL it refuses to open a tunnel.
    world.set("PROVIDER__BASE_URL", "https://provider.example/api");
    let mut check = world.command("check");
    assert!(!check.ended().await.success());
    let said = check.output();
    assert!(said.contains(&format!("the environment sets the proxy {address}")), "{said}");
    assert!(!said.contains("proxy-password") && !stopped.to_string().contains("proxy-password"), "{said}");
    assert!(!world.worker().output().contains("proxy-password"));
    world.sandbox.until_called("detail", "a", 0).await;
    let broker = &world.broker;
    until("the request waits", || async { (broker.count("requests").await == 1).then_some(()) }).await;
    world.stop_worker().await;
    world.environment.clear();
    world.set("PROVIDER__BASE_URL", &format!("{}/kyyReactApiServer", world.sandbox.url.clone()));
    world.start_worker().await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}
