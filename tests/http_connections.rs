//! Connections to the HTTP port that do nothing.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::sandbox::http_get;
use crate::support::{World, outcome};

/// As few file descriptors as a worker may be given.
const DESCRIPTORS: &str = "--nofile=128:128";

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_take_no_descriptor_that_the_worker_needs() {
    let amqp = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
    let mut world = World::without_worker(&amqp, &[]).await;
    world.launcher = vec!["prlimit".to_owned(), DESCRIPTORS.to_owned()];
    world.start_worker().await;
    let address = world.addresses().await[0].clone();
    let mut idle = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        }
        idle.push(stream);
    }
    for path in ["livez", "readyz", "metrics"] {
        assert_eq!(http_get(&format!("{address}/{path}")).await.0, 200, "/{path}");
    }
    let assets: Vec<String> = (0..40).map(|number| format!("a{number}")).collect();
    world.sandbox.add_all(assets.clone()).await;
    for asset in &assets {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    world.broker.requests_answered(assets.len()).await;
    for one in world.broker.seen() {
        assert_eq!(outcome(&one.event), ("deleted", ""), "{}", one.text);
    }
    let open = world.sample(0, "asset_eraser_http_connections").await;
    assert!(open <= 32.0, "{open} connections of 128 descriptors");
    drop(idle);
    world.finish(0).await;
}
