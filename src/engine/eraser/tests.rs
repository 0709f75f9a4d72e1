//! The decision procedure against a stand-in for the provider and the job registry, with a ledger in memory and no broker:
//! what `docs/what-happens-when.md` says of one request, a row each. `tests/` has the same with real processes.

use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::contract::message::request::Envelope;
use crate::neighbours::pace::gate::Gate;

mod table;

/// What an eraser needs, and the switches of what it talks to.
struct Stage {
    eraser: Eraser,
    line: Intake,
    ledger: Ledger,
    sandbox: String,
    announced: Announced,
}

/// Takes every notice.
#[derive(Default)]
struct Announced(Mutex<Vec<String>>);

impl Announce for Announced {
    fn announce<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, bool> {
        self.0.lock().unwrap().push(notice.body.clone());
        Box::pin(std::future::ready(true))
    }
}

impl Stage {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = format!("http://{}", listener.local_addr().unwrap());
        let own = sandbox::Settings { token: "key".into(), jobs_token: None, assets: Vec::new(), keep_log: true };
        tokio::spawn(async move { sandbox::serve(listener, &own, std::future::pending()).await });
        let settings = self::settings(&sandbox, settings);
        let metrics = Metrics::new().unwrap();
        let line = Intake::new(metrics.clone());
        let gate = Gate::new(settings.worker.concurrency, None, metrics.clone());
        let provider = Client::new(&settings.provider, gate, metrics.clone()).unwrap();
        let guard = Guard::new(&settings.guard, provider.clone(), metrics.clone()).unwrap();
        let ledger = Ledger::open(&settings.ledger.url, metrics.clone()).await.unwrap();
        let backups = Backups::new(settings.backup.clone()).unwrap();
        let eraser = Eraser::new(settings, provider, guard, ledger.clone(), backups, line.clone(), metrics);
        Self { eraser, line, ledger, sandbox, announced: Announced::default() }
    }

    /// Switches the stand-in.
    async fn control(&self, method: &str, path: &str, body: &Value) {
        let method = method.parse().unwrap();
        let request = reqwest::Client::new().request(method, format!("{}/control/{path}", self.sandbox));
        let answer = request.body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    /// One attempt, in words.
    async fn attempt(&self, request: &Request) -> String {
        let (never, delivered) = (CancellationToken::new(), Delivered::default());
        let erased = self.eraser.erase(request, &delivered, &self.announced, &never);
        in_words(Box::pin(erased).await.unwrap())
    }

    /// Attempts until there is an answer, without the waits between them.
    async fn until_answered(&self, request: &Request) -> String {
        for _ in 0..20 {
            let said = self.attempt(request).await;
            if !said.starts_with("put off") {
                return said;
            }
        }
        panic!("no answer after twenty attempts");
    }

    async fn deletes(&self) -> usize {
        let calls = reqwest::get(format!("{}/control/calls", self.sandbox)).await.unwrap().bytes().await.unwrap();
        let calls: Value = serde_json::from_slice(&calls).unwrap();
        calls["calls"].as_array().unwrap().iter().filter(|call| call["operation"] == "delete").count()
    }
}

/// Waits of a few milliseconds, and whatever a row says beside.
fn settings(sandbox: &str, more: &[(&str, &str)]) -> Settings {
    let (base, jobs) = (format!("{sandbox}/kyyReactApiServer"), format!("{sandbox}/jobs/{{asset_id}}"));
    let mut set = vec![
        ("PROVIDER__BASE_URL", base.as_str()),
        ("PROVIDER__TOKEN", "key"),
        ("PROVIDER__TIMEOUT", "20s"),
        ("PROVIDER__VERIFY_INTERVAL", "3ms"),
        ("GUARD__HTTP__URL", jobs.as_str()),
        ("GUARD__HTTP__TIMEOUT", "20s"),
        ("RETRY__INITIAL", "1ms"),
        ("RETRY__MAX_INTERVAL", "2ms"),
        ("RETRY__MAX_ELAPSED", "20ms"),
        ("RETRY__WAIT_STEPS", "1s,2s"),
        ("LEDGER__URL", "memory:"),
    ];
    set.extend(more);
    set.push(("GUARD__NONE", "false"));
    Settings::with(&set)
}

fn request(body: &Value) -> Request {
    let text = body.to_string();
    let envelope = Envelope { body: text.as_bytes(), left_out: None, content_type: None, message_id: None };
    Request::decode(envelope).unwrap()
}

fn in_words(verdict: Verdict) -> String {
    match verdict {
        Verdict::Answer(Publication { event, .. }) => answer(&event),
        Verdict::Bury { answer: Some(Publication { event, .. }), why, .. } => {
            format!("{}, buried {}", answer(&event), why.as_str())
        }
        Verdict::Bury { answer: None, why, .. } => format!("buried {}", why.as_str()),
        Verdict::PutOff { reason, .. } => format!("put off {}", reason.as_str()),
        Verdict::HandBack => "handed back".to_owned(),
    }
}

fn answer(event: &ResultEvent) -> String {
    let ResultEvent { outcome, cause, proof, .. } = event;
    [outcome.as_str(), cause, proof].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
