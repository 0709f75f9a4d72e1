//! What there is to see of copies: what the assets' files were, and what is in the store.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::asks::{Asks, Kind};
use crate::support::World;
use crate::support::sandbox::http_get;

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
}

impl Copies {
    pub async fn look(world: &World, asks: &Asks, store: &Path) -> Self {
        let mut copies = Self::default();
        for asset in asks.assets_of(Kind::Kept) {
            let (status, text) = http_get(&format!("{}/control/files/{asset}", world.sandbox.url)).await;
            assert_eq!(status, 200, "{text}");
            let file: Value = serde_json::from_str(&text).unwrap();
            let (length, sha256) = (file["length"].as_u64().unwrap(), file["sha256"].as_str().unwrap().to_owned());
            copies.assets.insert(asset.to_owned(), Bytes { length, sha256 });
        }
        let mut folders = vec![store.canonicalize().unwrap()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                let bytes = std::fs::read(entry.path()).unwrap();
                let (length, sha256) = (bytes.len() as u64, hex::encode(Sha256::digest(&bytes)));
                let location = url::Url::from_file_path(entry.path()).unwrap();
                copies.stored.insert(location.into(), Bytes { length, sha256 });
            }
        }
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
