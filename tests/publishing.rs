//! `docs/publishers/`, as a reader copies and runs them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::party::{add_user, url};
use crate::support::private::PrivateBroker;
use crate::support::process::Process;
use crate::support::{outcome, until, world_at};

/// Who publishes over AMQP, and who by hand; no other user may ask.
const DESK: &str = "desk";
const CLERK: &str = "clerk";

fn root(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// What Debian has of it, installed if need be.
fn install(what: &str) {
    let out = Command::new(root("deploy/dev/install.sh")).arg(what).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// A broker with its management plugin, and with users that may do no more than they have to. Gives the plugin's port too.
fn broker() -> (PrivateBroker, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let broker = PrivateBroker::start_with(|dir| {
        std::fs::write(dir.join("plugins"), "rabbitmq_management").unwrap();
        format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n")
    });
    for (user, configure, write, read) in [
        ("eraser", ".*", ".*", ".*"),
        (DESK, "^$", r"^(t-.*|amq\.topic)$", "^$"),
        (CLERK, r"^clerk\.replies\..*$", r"^(t-.*|amq\.topic)$", r"^clerk\.replies\..*$"),
    ] {
        add_user(&broker, user);
        broker.ctl(&["set_permissions", "-p", "/", user, configure, write, read]);
    }
    broker.ctl(&["set_user_tags", CLERK, "management"]);
    (broker, port)
}

/// How one of them is run, and what it needs for that.
struct Publisher {
    file: &'static str,
    program: String,
    environment: Vec<(String, String)>,
}

fn python(broker: &PrivateBroker) -> Publisher {
    let program = std::env::var("PYTHON").unwrap_or_else(|_| {
        install("pika");
        "/usr/bin/python3".to_owned()
    });
    Publisher { file: "publish.py", program, environment: vec![("AMQP_URL".into(), url(broker, DESK))] }
}

fn node(broker: &PrivateBroker, dir: &Path) -> Publisher {
    install("node");
    let npm = ["install", "--silent", "--no-audit", "--no-fund", "--prefix", dir.to_str().unwrap(), "amqplib@2"];
    let installed = Command::new("npm").args(npm).output().unwrap();
    let why = "npm cannot install amqplib; give it a registry that it reaches (npm config set registry)";
    assert!(installed.status.success(), "{why}: {}", String::from_utf8_lossy(&installed.stderr));
    let modules = dir.join("node_modules").to_str().unwrap().to_owned();
    let environment = vec![("AMQP_URL".into(), url(broker, DESK)), ("NODE_PATH".into(), modules)];
    Publisher { file: "publish.js", program: "node".into(), environment }
}

fn shell(broker: &PrivateBroker, port: u16, dir: &Path) -> Publisher {
    let secret = url::Url::parse(&url(broker, CLERK)).unwrap().password().unwrap().to_owned();
    let config = dir.join("rabbitmqadmin.conf");
    std::fs::write(
        &config,
        format!("[here]\nhostname = 127.0.0.1\nport = {port}\nusername = {CLERK}\npassword = {secret}\n"),
    )
    .unwrap();
    let admin = format!("rabbitmqadmin -c {} -N here", config.display());
    let environment = vec![("RABBITMQADMIN".into(), admin), ("RABBITMQ_USER".into(), CLERK.into())];
    Publisher { file: "publish.sh", program: "bash".into(), environment }
}

impl Publisher {
    fn start(&self, dir: &Path, exchange: &str, asset: &str) -> Process {
        let script = root(&format!("docs/publishers/{}", self.file));
        let exchange = [("ASSET_ERASER_EXCHANGE".to_owned(), exchange.to_owned())];
        let environment = self.environment.iter().cloned().chain(exchange).collect();
        let (name, request) = (format!("{}-{asset}", self.file), format!("r/{asset}"));
        Process::spawn(dir, &name, &self.program, &[&script, asset, &request], environment)
    }

    /// What it printed, once it has ended well.
    async fn result(&self, mut running: Process) -> Value {
        let status = running.ended().await;
        assert!(status.success(), "{}: {status}", self.file);
        let printed = running.output();
        let json = &printed[printed.find('{').unwrap()..=printed.rfind('}').unwrap()];
        serde_json::from_str(json).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_publisher_gets_its_result_or_says_that_no_queue_takes_its_request() {
    let ((broker, port), tools) = (broker(), tempfile::tempdir().unwrap());
    let (dir, own) = (tools.path(), url(&broker, "eraser"));
    let mut world = world_at(&broker.url, &[("BROKER__URL", &own), ("PUBLISHERS__ALLOW", "desk,clerk")]).await;
    let exchange = world.broker.prefix.clone();
    let publishers = [python(&broker), node(&broker, dir), shell(&broker, port, dir)];
    let assets: Vec<String> = publishers.iter().map(|one| one.file.to_owned()).collect();
    world.sandbox.add_all(assets.clone()).await;
    world.asked_for(assets.clone());
    for (publisher, asset) in publishers.iter().zip(&assets) {
        world.sandbox.job("video_1", &[asset], "processing").await;
        let running = publisher.start(dir, &exchange, asset);
        world.sandbox.until_called("jobs", asset, 1).await;
        if publisher.file != "publish.sh" {
            broker.ctl(&["close_all_connections", "to see what happens"]);
            world.broker.reconnect().await;
            until("it notices", || async { running.output().contains("connection lost").then_some(()) }).await;
        }
        world.sandbox.job("video_1", &[asset], "completed").await;
        let result = publisher.result(running).await;
        assert_eq!(outcome(&result), ("deleted", ""), "{}: {result}", publisher.file);
        assert_eq!(result["data"]["request_id"], format!("r/{asset}"));
        assert_eq!(result["data"]["requested_by"], publisher.file);
    }
    let metrics = world.get("/metrics").await.1;
    assert!(metrics.contains("asset_eraser_replies_unroutable_total 0"), "answers arrived, and are counted as lost");
    // An exchange that no queue is bound to: to be told at once, not waited for.
    for publisher in &publishers {
        let mut running = publisher.start(dir, "amq.topic", "asset-1");
        assert!(!running.ended().await.success(), "{}", publisher.file);
        let said = running.output();
        assert!(said.contains("amq.topic") && said.contains("has asset-eraser ever been started?"), "{said}");
    }
    world.until_ready(true).await;
    world.finish(0).await;
}

#[test]
fn every_publisher_is_run_here() {
    let files = std::fs::read_dir(PathBuf::from(root("docs/publishers"))).unwrap();
    let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["README.md", "publish.js", "publish.py", "publish.sh"]);
}
