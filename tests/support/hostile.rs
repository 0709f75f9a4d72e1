//! A server that plays provider and job registry, well or as badly as it can.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// How it answers when it is hostile. Nothing here ends by itself, but for the last three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A body without an end, in chunks.
    Stream,
    /// A body of ten gigabytes, announced.
    Gigabytes,
    /// A body whose length is not announced, until the connection ends.
    Unannounced,
    /// One byte of the head a second.
    DripHead,
    /// A proper head, and one byte of the body a second.
    DripBody,
    /// One header after the other.
    Headers,
    /// One header line that goes on and on.
    LongHeader,
    /// One interim answer after the other.
    Interim,
    /// What is no HTTP.
    Garbage,
    /// A body that is shorter than it was announced.
    Short,
    /// Nothing: the connection is closed.
    Close,
}

#[derive(Default)]
struct World {
    hostile: Option<How>,
    deleted: BTreeSet<String>,
    /// Assets that a `DELETE` was sent for, each as often as that.
    deletes: Vec<String>,
    longest: Duration,
    most: usize,
}

/// Assets are there until they are deleted, and no job uses any. For assets whose ID begins with `detail-`, `jobs-` or
/// `delete-` that call is answered in a hostile way, while it is to be hostile; a hostile `DELETE` is carried out.
pub struct Hostile {
    address: String,
    world: Arc<Mutex<World>>,
    _task: AbortOnDropHandle<()>,
}

impl Hostile {
    pub async fn start(how: How) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let world = Arc::new(Mutex::new(World { hostile: Some(how), ..World::default() }));
        let shared = world.clone();
        let task = tokio::spawn(async move {
            let mut calls = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                calls.spawn(call(stream, shared.clone()));
                while calls.try_join_next().is_some() {}
            }
        });
        Self { address, world, _task: AbortOnDropHandle::new(task) }
    }

    pub fn settings(&self) -> [(&'static str, String); 2] {
        let base = format!("http://{}", self.address);
        [("PROVIDER__BASE_URL", base.clone()), ("GUARD__HTTP__URL", format!("{base}/jobs/{{asset_id}}"))]
    }

    /// From now on it answers well.
    pub fn behave(&self) {
        self.world.lock().unwrap().hostile = None;
    }

    pub fn deletes(&self) -> Vec<String> {
        let mut deletes = self.world.lock().unwrap().deletes.clone();
        deletes.sort();
        deletes
    }

    /// How long the longest hostile answer was listened to, and how many bytes of the longest were taken.
    pub fn most(&self) -> (Duration, usize) {
        let world = self.world.lock().unwrap();
        (world.longest, world.most)
    }
}

async fn call(mut stream: TcpStream, world: Arc<Mutex<World>>) {
    let Some(head) = request(&mut stream).await else { return };
    let (method, path) = head.split_once(' ').unwrap();
    let asset = path.split(' ').next().unwrap().rsplit('/').next().unwrap().to_owned();
    let operation = match method {
        "DELETE" => "delete",
        _ if path.starts_with("/jobs/") => "jobs",
        _ => "detail",
    };
    let (hostile, body) = {
        let mut world = world.lock().unwrap();
        if operation == "delete" {
            world.deleted.insert(asset.clone());
            world.deletes.push(asset.clone());
        }
        let there = !world.deleted.contains(&asset);
        let body = match operation {
            "delete" => json!({"code": "0", "msg": "success"}),
            "jobs" => json!({"jobs": []}),
            _ if there => json!({"code": 0, "msg": null, "data": {"assetId": asset}}),
            _ => json!({"code": -1, "msg": "no such asset"}),
        };
        (world.hostile.filter(|_| asset.starts_with(&format!("{operation}-"))), body.to_string())
    };
    let Some(how) = hostile else {
        let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        // A caller that has given up has no use for it.
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    };
    let began = Instant::now();
    let sent = answer(&mut stream, how).await;
    let mut world = world.lock().unwrap();
    world.longest = world.longest.max(began.elapsed());
    world.most = world.most.max(sent);
}

async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&request).into_owned())
}

/// Answers until the client no longer listens; says how many bytes went out.
async fn answer(stream: &mut TcpStream, how: How) -> usize {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let spaces = " ".repeat(16 * 1024);
    let (head, then) = match how {
        How::Stream => (format!("{OK}transfer-encoding: chunked\r\n\r\n"), format!("4000\r\n{spaces}\r\n")),
        How::Gigabytes => (format!("{OK}content-length: 10000000000\r\n\r\n"), spaces),
        How::Unannounced => (format!("{OK}connection: close\r\n\r\n"), spaces),
        How::DripHead => (String::new(), OK.to_owned()),
        How::DripBody => (format!("{OK}content-length: 1000\r\n\r\n"), spaces),
        How::Headers => (OK.to_owned(), "x-more: and more\r\n".repeat(1000)),
        How::LongHeader => (format!("{OK}x-long: "), "and more".repeat(1000)),
        How::Interim => (String::new(), "HTTP/1.1 100 Continue\r\n\r\n".repeat(10)),
        How::Garbage => ("\u{0}\u{1}SSH-2.0-x\r\n\r\n\u{7}".repeat(100), String::new()),
        How::Short => (format!("{OK}content-length: 1000\r\n\r\n{{\"code\":0"), String::new()),
        How::Close => (String::new(), String::new()),
    };
    let mut sent = head.len();
    if stream.write_all(head.as_bytes()).await.is_err() || then.is_empty() {
        return sent;
    }
    let dripping = matches!(how, How::DripHead | How::DripBody);
    // A flood of these would keep a thread of the caller busy; without an end they are in any case.
    let pause = if how == How::Interim { Duration::from_millis(5) } else { Duration::ZERO };
    for at in 0_usize.. {
        let piece = if dripping { &then.as_bytes()[at % then.len()..][..1] } else { then.as_bytes() };
        if stream.write_all(piece).await.is_err() {
            break;
        }
        sent += piece.len();
        tokio::time::sleep(pause).await;
        if dripping && gone(stream, Duration::from_secs(1)).await {
            break;
        }
    }
    sent
}

/// Whether the caller hangs up within this time.
async fn gone(stream: &mut TcpStream, wait: Duration) -> bool {
    let hung_up = tokio::time::timeout(wait, stream.read_u8()).await;
    matches!(hung_up, Ok(Err(_)))
}
