//! An S3 server that this project did not make, in the test's own process: it checks signatures, and keeps objects as files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::backups::files_in;
use super::clock::now_ms;

pub const BUCKET: &str = "kept";
const KEY_ID: &str = "test-key-id";

/// One object that was read whole or in part, without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The object's key in the bucket.
    pub key: String,
    /// When it was asked for, in milliseconds since 1970.
    pub at_ms: i64,
}

pub struct S3 {
    url: String,
    /// Its secret key. Nothing the worker prints or serves may hold it.
    pub secret: String,
    /// What is in its one bucket.
    pub bucket: PathBuf,
    /// While it is set, one bit of every copy that is written is lost.
    pub loses_bits: Arc<AtomicBool>,
    reads: Arc<Mutex<Vec<Read>>>,
    serving: JoinHandle<()>,
}

impl S3 {
    pub async fn start(dir: &Path) -> Self {
        let (root, secret) = (dir.join("s3"), format!("s3-{}", uuid::Uuid::new_v4().simple()));
        let bucket = root.join(BUCKET);
        std::fs::create_dir_all(&bucket).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY_ID, secret.as_str()));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let loses_bits = Arc::new(AtomicBool::new(false));
        let (losing, written) = (loses_bits.clone(), bucket.clone());
        let reads: Arc<Mutex<Vec<Read>>> = Arc::default();
        let recorded = reads.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, losing, written) = (service.clone(), losing.clone(), written.clone());
                let recorded = recorded.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let read = request.method() == Method::GET;
                    let path = request.uri().path().to_owned();
                    let (answer, spoil) = (Service::call(&service, request), !read && losing.load(Ordering::SeqCst));
                    let (written, recorded, at_ms) = (written.clone(), recorded.clone(), now_ms());
                    let key = key_read(&path).filter(|_| read);
                    async move {
                        let answer = answer.await;
                        let well = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
                        if let Some(key) = key.filter(|_| well) {
                            recorded.lock().unwrap().push(Read { key, at_ms });
                        }
                        if spoil {
                            lose_a_bit(&written);
                        }
                        answer
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, secret, bucket, loses_bits, reads, serving }
    }

    /// Every object that was read so far, in the order in which the answers began.
    pub fn reads(&self) -> Vec<Read> {
        self.reads.lock().unwrap().clone()
    }

    /// What a process needs to get in with this secret.
    pub fn environment(&self, secret: &str) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_ENDPOINT_URL", &self.url),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }
}

/// The key in the path of a request for an object.
fn key_read(path: &str) -> Option<String> {
    let key = path.strip_prefix(&format!("/{BUCKET}/"))?;
    let key = percent_encoding::percent_decode_str(key).decode_utf8().ok()?;
    Some(key.into_owned()).filter(|key| !key.is_empty())
}

/// Of every copy, in its middle.
fn lose_a_bit(bucket: &Path) {
    let copies = files_in(bucket).into_iter().filter(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("asset-")
    });
    for copy in copies {
        let mut bytes = std::fs::read(&copy).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&copy, bytes).unwrap();
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
