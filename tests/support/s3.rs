//! An S3 server of somebody else's making, in the test's own process: it checks signatures, and keeps objects as files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

pub const BUCKET: &str = "kept";
const KEY_ID: &str = "test-key-id";

pub struct S3 {
    url: String,
    /// Its secret key. Nothing the worker prints or serves may hold it.
    pub secret: String,
    /// What is in its one bucket.
    pub bucket: PathBuf,
    /// While it is set, one bit of every copy that is written is lost.
    pub loses_bits: Arc<AtomicBool>,
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
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, losing, written) = (service.clone(), losing.clone(), written.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let read = request.method() == Method::GET;
                    let (answer, spoil) = (Service::call(&service, request), !read && losing.load(Ordering::SeqCst));
                    let written = written.clone();
                    async move {
                        let answer = answer.await;
                        if spoil {
                            lose_a_bit(&written);
                        }
                        answer
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, secret, bucket, loses_bits, serving }
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
