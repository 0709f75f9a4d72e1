//! The object store: an asset's bytes go in piece by piece, and are read back.

use std::fs::File;
use std::io::Read;
use std::path::Path as FilePath;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::try_join;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientConfigKey, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::pieces::{Pieces, Whole};
use super::place::DESCRIPTION_LIMIT;
use super::source::Download;
use super::{BackupError, Trouble, within};
use crate::platform::crypto;
use crate::settings;

/// How long the store may take to forget an upload that failed.
const ABORT_LIMIT: Duration = Duration::from_secs(10);
/// The store's own tries of one call, after the first. What lasts longer is for the request's own retries.
const STORE_RETRIES: usize = 2;

/// What is read of a file at once, in bytes.
const STEP: u64 = 4 << 20;

/// A store of backups.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// What the URL of an object has before its key.
    pub(super) base: String,
    /// What every key begins with.
    pub(super) prefix: String,
}

/// What a description says, if it is there.
pub(super) enum Text {
    Missing,
    /// It is no description: too long.
    TooLong,
    Read(Vec<u8>),
}

impl Store {
    /// Sets the store up; makes the folder, and asks no service.
    pub(super) fn open(settings: &settings::BackupSettings) -> Result<Self, BackupError> {
        match &settings.store {
            settings::BackupStore::Folder(folder) => Self::folder(folder),
            settings::BackupStore::Bucket(url) => Self::bucket(url, settings.timeout),
        }
    }

    fn folder(folder: &FilePath) -> Result<Self, BackupError> {
        let bad = |error: &dyn std::fmt::Display| BackupError::Store(format!("{}: {error}", folder.display()));
        make(folder).map_err(|error| bad(&error))?;
        // A backup has to be on the disk before its asset is deleted for good.
        let objects = LocalFileSystem::new_with_prefix(folder).map_err(|error| bad(&error))?.with_fsync(true);
        let root = folder.canonicalize().map_err(|error| bad(&error))?;
        let base = Url::from_directory_path(&root).map_err(|()| bad(&"is no absolute path"))?;
        let base = base.as_str().trim_end_matches('/').to_owned();
        Ok(Self { objects: Arc::new(objects), base, prefix: String::new() })
    }

    fn bucket(url: &Url, timeout: Duration) -> Result<Self, BackupError> {
        let bad = |error: object_store::Error| BackupError::Store(error.to_string());
        // Reading back an asset is one call, however large the asset is.
        let (option, limit) = (ClientConfigKey::Timeout, format!("{}s", timeout.as_secs()));
        let retry = RetryConfig { max_retries: STORE_RETRIES, retry_timeout: timeout, ..RetryConfig::default() };
        crypto::install();
        let objects: Arc<dyn ObjectStore> = match url.scheme() {
            "s3" => {
                let builder = AmazonS3Builder::from_env().with_config(AmazonS3ConfigKey::Client(option), limit);
                Arc::new(builder.with_url(url.as_str()).with_retry(retry).build().map_err(bad)?)
            }
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_config(GoogleConfigKey::Client(option), limit);
                Arc::new(builder.with_url(url.as_str()).with_retry(retry).build().map_err(bad)?)
            }
            _ => {
                let builder = MicrosoftAzureBuilder::from_env().with_config(AzureConfigKey::Client(option), limit);
                Arc::new(builder.with_url(url.as_str()).with_retry(retry).build().map_err(bad)?)
            }
        };
        let base = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        Ok(Self { objects, base, prefix: url.path().trim_matches('/').to_owned() })
    }

    /// The URL of an object.
    pub(super) fn location(&self, key: &Path) -> String {
        format!("{}/{key}", self.base)
    }

    /// Writes all that is downloaded under a key that was never used. What fails is taken away again, as far as the store
    /// can still be told to.
    pub(super) async fn write(&self, key: &Path, download: Download, deadline: Instant) -> Result<Whole, Trouble> {
        let mut pieces = Pieces::of(download);
        let first = within(deadline, pieces.next()).await?;
        if first.last {
            within(deadline, self.create(key, first.bytes)).await?;
            return Ok(pieces.whole());
        }
        let upload = self.objects.put_multipart(key);
        let mut upload =
            within(deadline, async { upload.await.map_err(|error| failed("begin a copy", &error)) }).await?;
        match within(deadline, upload_all(upload.as_mut(), first.bytes, &mut pieces)).await {
            Ok(()) => Ok(pieces.whole()),
            Err(trouble) => {
                match tokio::time::timeout(ABORT_LIMIT, upload.abort()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%key, %error, "a part of a backup is left in the store"),
                    Err(_) => tracing::warn!(%key, "a part of a backup is left in the store: no answer"),
                }
                Err(trouble)
            }
        }
    }

    /// Writes an object under a name that no other object has: if there is one, it is ours, and the answer to it was lost.
    async fn create(&self, key: &Path, bytes: PutPayload) -> Result<(), Trouble> {
        match self.objects.put_opts(key, bytes, PutMode::Create.into()).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(failed("write", &error)),
        }
    }

    /// Writes a description; false when there is one under this key.
    pub(super) async fn describe(&self, key: &Path, text: Vec<u8>) -> Result<bool, Trouble> {
        match self.objects.put_opts(key, text.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(failed("write", &error)),
        }
    }

    /// Reads a description.
    pub(super) async fn description(&self, key: &Path) -> Result<Text, Trouble> {
        let got = match self.objects.get(key).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(Text::Missing),
            got => got.map_err(|error| failed("read", &error))?,
        };
        if got.meta.size > DESCRIPTION_LIMIT {
            return Ok(Text::TooLong);
        }
        let text = got.bytes().await.map_err(|error| failed("read", &error))?;
        Ok(Text::Read(text.to_vec()))
    }

    /// Reads an object from front to back; `None` when there is none.
    pub(super) async fn read_back(&self, key: &Path) -> Result<Option<Whole>, Trouble> {
        let got = match self.objects.get(key).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            got => got.map_err(|error| failed("read", &error))?,
        };
        let (length, digest) = match got.payload {
            GetResultPayload::File(file, _) => hash(file).await.map_err(|error| failed("read", &error))?,
            GetResultPayload::Stream(stream) => {
                let (mut length, mut digest, mut stream) = (0, Sha256::new(), pin!(stream));
                while let Some(bytes) = stream.try_next().await.map_err(|error| failed("read", &error))? {
                    length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    digest.update(&bytes);
                }
                (length, digest)
            }
        };
        Ok(Some(Whole { length, sha256: hex::encode(digest.finalize()) }))
    }

    /// Writes, reads and removes a small object.
    pub(super) async fn probe(&self) -> Result<(), object_store::Error> {
        let key = Path::from(format!("{}/asset-eraser-check-{}", self.prefix, Uuid::new_v4()));
        let text = PutPayload::from_static(b"asset-eraser check");
        self.objects.put_opts(&key, text, PutMode::Create.into()).await?;
        let read = async { self.objects.get(&key).await?.bytes().await }.await;
        self.take_away(&key).await;
        read.map(drop)
    }

    /// Takes away an object that this process has just written, and that is no backup. It may stay: nothing points to it.
    pub(super) async fn take_away(&self, key: &Path) {
        match tokio::time::timeout(ABORT_LIMIT, self.objects.delete(key)).await {
            Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => {}
            Ok(Err(error)) => tracing::warn!(%key, %error, "what is no backup is left in the store"),
            Err(_) => tracing::warn!(%key, "what is no backup is left in the store: no answer"),
        }
    }
}

/// Makes a folder that is not there, for no other user to read: what is deleted for privacy's sake may be copied into it.
fn make(folder: &FilePath) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// One piece goes out while the next comes in: that is all that is ever in memory.
async fn upload_all(upload: &mut dyn MultipartUpload, first: PutPayload, pieces: &mut Pieces) -> Result<(), Trouble> {
    let mut going = upload.put_part(first);
    loop {
        let sent = async { going.await.map_err(|error| failed("write", &error)) };
        let ((), piece) = try_join(sent, pieces.next()).await?;
        let (bytes, last) = (piece.bytes, piece.last);
        going = upload.put_part(bytes);
        if last {
            going.await.map_err(|error| failed("write", &error))?;
            return upload.complete().await.map(drop).map_err(|error| failed("finish a copy", &error));
        }
    }
}

/// Reads a file beside the one thread that works on requests, in large steps: a read for each 8 KiB would be handed from
/// thread to thread, and one for all of a file would go on when no request waits for it any more.
async fn hash(mut file: File) -> std::io::Result<(u64, Sha256)> {
    let (mut length, mut digest, mut buffer) = (0, Sha256::new(), Vec::new());
    loop {
        let step = move || -> std::io::Result<_> {
            buffer.clear();
            let read = (&mut file).take(STEP).read_to_end(&mut buffer)?;
            digest.update(&buffer);
            Ok((read, file, digest, buffer))
        };
        let read;
        (read, file, digest, buffer) = tokio::task::spawn_blocking(step).await??;
        if read == 0 {
            return Ok((length, digest));
        }
        length += u64::try_from(read).unwrap_or(u64::MAX);
    }
}

/// The store did not do it. What it said is for the operator's log; the requester is told what kind of thing it was.
fn failed(doing: &str, error: &(dyn std::error::Error + 'static)) -> Trouble {
    use object_store::Error;
    tracing::warn!(doing, %error, "the store of backups");
    let kind = match error.downcast_ref::<Error>() {
        Some(Error::NotFound { .. }) => "does not have what was just written, or is not there",
        Some(Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => "does not let the worker in",
        Some(Error::NotImplemented { .. } | Error::NotSupported { .. }) => "cannot do what is needed",
        _ => "cannot be used",
    };
    Trouble::Passing {
        why: format!("the store of backups {kind}: could not {doing} (see the worker's log)"),
        after: None,
    }
}
