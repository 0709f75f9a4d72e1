//! What there is to see of copies: what the assets' files were, what is in the store, and what was read out of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::asks::{Asks, Kind};
use super::stage::Stage;
use crate::support::backups::files_in;
use crate::support::s3::{BUCKET, Read, S3};

/// Length and SHA-256 of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes {
    pub length: u64,
    pub sha256: String,
}

/// Every copy that a run was asked for, and every file in its store.
#[derive(Clone, Debug, Default)]
pub struct Copies {
    /// What the assets to be kept were, by asset.
    pub assets: BTreeMap<String, Bytes>,
    /// What is in the store, by location.
    pub stored: BTreeMap<String, Bytes>,
    /// What was read out of the bucket, in a run with one.
    pub reads: Vec<Read>,
}

impl Copies {
    pub async fn look(stage: &Stage, asks: &Asks) -> Self {
        let mut copies = Self::default();
        for asset in asks.assets_of(Kind::Kept) {
            let file: Value = stage.world.sandbox.file(asset).await;
            let (length, sha256) = (file["length"].as_u64().unwrap(), file["sha256"].as_str().unwrap().to_owned());
            copies.assets.insert(asset.to_owned(), Bytes { length, sha256 });
        }
        let root = stage.s3.as_ref().map_or(&stage.store, |s3| &s3.bucket).canonicalize().unwrap();
        for file in files_in(&root) {
            let bytes = std::fs::read(&file).unwrap();
            let (length, sha256) = (bytes.len() as u64, hex::encode(Sha256::digest(&bytes)));
            copies.stored.insert(location(stage, &root, &file), Bytes { length, sha256 });
        }
        copies.reads = stage.s3.as_ref().map_or_else(Vec::new, S3::reads);
        copies
    }

    /// Whether a result's `backup` is a copy of all of the asset, and there.
    pub fn are_whole(&self, asset: &str, backup: &Value) -> bool {
        let said = backup["length"].as_u64().zip(backup["sha256"].as_str());
        let said = said.map(|(length, sha256)| Bytes { length, sha256: sha256.to_owned() });
        let stored = backup["location"].as_str().and_then(|location| self.stored.get(location));
        said.is_some() && said.as_ref() == self.assets.get(asset) && said.as_ref() == stored
    }
}

/// What results call a file of the store.
fn location(stage: &Stage, root: &Path, file: &Path) -> String {
    if stage.s3.is_some() {
        let key = file.strip_prefix(root).unwrap().display();
        return format!("s3://{BUCKET}/{key}");
    }
    url::Url::from_file_path(file).unwrap().into()
}
