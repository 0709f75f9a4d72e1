//! An S3 server of somebody else's making, in the test's own process: it checks signatures, and keeps objects as files.

use std::path::{Path, PathBuf};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const BUCKET: &str = "kept";
const KEY_ID: &str = "test-key-id";

pub struct S3 {
    url: String,
    /// Its secret key. Nothing the worker prints or serves may hold it.
    pub secret: String,
    /// What is in its one bucket.
    pub bucket: PathBuf,
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
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone()));
            }
        });
        Self { url, secret, bucket, serving }
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

impl Drop for S3 {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
