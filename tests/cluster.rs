//! A cluster of three brokers, whose nodes go and come back while there is work.

use serde_json::json;

use crate::support::private::PrivateCluster;
use crate::support::{World, outcome};

struct Stage {
    cluster: PrivateCluster,
    world: World,
    /// Requests before each of what happens to a node.
    portion: usize,
    asked: usize,
}

impl Stage {
    async fn start(portion: usize) -> Self {
        let cluster = PrivateCluster::start();
        let mut world = World::without_worker(cluster.url_of(1), &[("BROKER__URL", &cluster.url())]).await;
        world.start_worker().await;
        world.broker.requests_answered(0).await;
        cluster.settle();
        // Slow enough that each node goes in the middle.
        world.sandbox.latency(600).await;
        Self { cluster, world, portion, asked: 0 }
    }

    /// The node that leads the queue of requests.
    fn leader(&self) -> usize {
        self.cluster.leader(&self.world.broker.queue("requests"))
    }

    /// Asks for some, every tenth of an asset that is in use until the end.
    async fn ask(&mut self) {
        let assets: Vec<String> = (self.asked..self.asked + self.portion).map(|number| format!("a{number}")).collect();
        self.world.sandbox.add_all(assets.clone()).await;
        let busy: Vec<&str> = assets.iter().step_by(10).map(String::as_str).collect();
        self.world.sandbox.job(&format!("video_{}", self.asked), &busy, "processing").await;
        for asset in &assets {
            self.world.ask(json!({"request_id": format!("r-{asset}"), "asset_id": asset})).await;
        }
        self.asked += self.portion;
    }

    /// In the middle of a portion, most of which is answered although the node is away.
    async fn while_away(&mut self, node: usize, away: &str, back: &str) {
        self.world.broker.reconnect_to(self.cluster.url_of(node % 3 + 1)).await;
        let before = self.world.broker.answered();
        self.ask().await;
        self.world.broker.requests_answered(before + self.portion / 10).await;
        self.cluster.node(away, node);
        let then = self.world.broker.answered();
        println!("{away} {node} after {} requests, {then} answered", self.asked);
        let open = self.asked - self.asked / 10 - then;
        assert!(open > self.portion / 10, "{away} of node {node} comes too late");
        self.world.broker.requests_answered(then + open / 2).await;
        self.cluster.node(back, node);
    }

    /// What was in use no longer is; then each request is answered, once.
    async fn all_answered(mut self) {
        for number in (0..self.asked).step_by(self.portion) {
            self.world.sandbox.job(&format!("video_{number}"), &[], "completed").await;
        }
        self.world.broker.requests_answered(self.asked).await;
        for one in self.world.broker.seen() {
            assert_eq!(outcome(&one.event), ("deleted", ""), "{}", one.text);
        }
        assert!(self.world.sandbox.assets().await.is_empty());
        self.world.finish(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_survive_the_leader_s_death_and_the_restart_of_another_node() {
    let mut stage = Stage::start(100).await;
    let leader = stage.leader();
    stage.while_away(leader, "kill-node", "start-node").await;
    stage.while_away(leader % 3 + 1, "stop-node", "start-node").await;
    stage.all_answered().await;
}

/// `make cluster`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes four minutes"]
async fn two_thousand_requests_survive_whatever_happens_to_nodes() {
    let mut stage = Stage::start(250).await;
    for node in 1..=3 {
        stage.while_away(node, "kill-node", "start-node").await;
    }
    let leader = stage.leader();
    stage.while_away(leader, "kill-node", "start-node").await;
    let leader = stage.leader();
    stage.while_away(leader, "cut", "heal").await;
    for node in 1..=3 {
        stage.while_away(node, "stop-node", "start-node").await;
    }
    assert_eq!(stage.asked, 2000);
    stage.all_answered().await;
}
