//! A cluster of three brokers, whose nodes go and come back while there is work.

use serde_json::json;

use crate::support::private::PrivateCluster;
use crate::support::{World, outcome};

/// Requests before each of what happens to a node.
const PORTION: usize = 250;
/// What happens to nodes: each is killed, then the leader is, one is cut off, and each is restarted.
const EVENTS: usize = 8;

struct Stage {
    cluster: PrivateCluster,
    world: World,
    asked: usize,
}

impl Stage {
    async fn start() -> Self {
        let cluster = PrivateCluster::start();
        let mut world = World::without_worker(cluster.url_of(1), &[("BROKER__URL", &cluster.url())]).await;
        world.start_worker().await;
        world.broker.requests_answered(0).await;
        cluster.settle();
        Self { cluster, world, asked: 0 }
    }

    /// Asks for some, every tenth of an asset that is in use until the end.
    async fn ask(&mut self) {
        let assets: Vec<String> = (self.asked..self.asked + PORTION).map(|number| format!("a{number}")).collect();
        self.world.sandbox.add_all(assets.clone()).await;
        let busy: Vec<&str> = assets.iter().step_by(10).map(String::as_str).collect();
        self.world.sandbox.job(&format!("video_{}", self.asked), &busy, "processing").await;
        for asset in &assets {
            self.world.ask(json!({"request_id": format!("r-{asset}"), "asset_id": asset})).await;
        }
        self.asked += PORTION;
    }

    /// In the middle of a portion, most of which is answered although the node is away.
    async fn while_away(&mut self, node: usize, away: &str, back: &str) {
        self.world.broker.reconnect_to(self.cluster.url_of(node % 3 + 1)).await;
        let before = self.world.broker.answered();
        self.ask().await;
        self.world.broker.requests_answered(before + PORTION / 10).await;
        self.cluster.node(away, node);
        let then = self.world.broker.answered();
        println!("{away} {node} after {} requests, {then} answered", self.asked);
        let open = self.asked - self.asked / 10 - then;
        assert!(open > PORTION / 10, "{away} of node {node} comes too late");
        self.world.broker.requests_answered(then + open / 2).await;
        self.cluster.node(back, node);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_requests_survive_a_cluster_whose_nodes_go_and_come_back() {
    let mut stage = Stage::start().await;
    // Slow enough that each node goes in the middle.
    stage.world.sandbox.latency(600).await;
    for node in 1..=3 {
        stage.while_away(node, "kill-node", "start-node").await;
    }
    let leader = stage.cluster.leader(&stage.world.broker.queue("requests"));
    stage.while_away(leader, "kill-node", "start-node").await;
    let leader = stage.cluster.leader(&stage.world.broker.queue("requests"));
    stage.while_away(leader, "cut", "heal").await;
    for node in 1..=3 {
        stage.while_away(node, "stop-node", "start-node").await;
    }
    assert_eq!(stage.asked, EVENTS * PORTION);
    for number in 0..EVENTS {
        stage.world.sandbox.job(&format!("video_{}", number * PORTION), &[], "completed").await;
    }
    stage.world.broker.requests_answered(stage.asked).await;
    for one in stage.world.broker.seen() {
        assert_eq!(outcome(&one.event), ("deleted", ""), "{}", one.text);
    }
    assert!(stage.world.sandbox.assets().await.is_empty());
    stage.world.finish(0).await;
}
