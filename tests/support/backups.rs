//! What is kept of assets, looked at from outside: the files themselves.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{World, operations, world};

/// The folder of copies, as the worker is told it: in the test's own folder, where it runs.
const FOLDER: &str = "kept";

/// A world whose worker keeps copies in a folder, and may fetch them from the sandbox.
pub async fn keeping_world(settings: &[(&str, &str)]) -> World {
    world(&[&settings_to_keep(), settings].concat()).await
}

/// Its settings.
pub fn settings_to_keep() -> [(&'static str, &'static str); 3] {
    [("BACKUP__URL", "file://kept"), ("BACKUP__ALLOW_HTTP", "true"), ("BACKUP__ALLOW_HOSTS", "127.0.0.1")]
}

impl World {
    pub fn kept_folder(&self) -> PathBuf {
        self.dir.path().join(FOLDER)
    }

    /// Asks for a deletion with a backup, under the request ID `r-<asset>`.
    pub async fn ask_to_keep(&mut self, asset: &str) {
        self.ask(json!({"request_id": format!("r-{asset}"), "asset_id": asset, "backup": true})).await;
    }

    /// How often a client has begun to fetch it. Once it is deleted its URL is only asked whether it serves bytes.
    pub async fn downloads(&self, asset: &str) -> usize {
        let calls = before_deletion(self.sandbox.calls_of(asset).await);
        operations(&calls).iter().filter(|operation| **operation == "file").count()
    }

    /// That the copy the result names is there, whole, described by the newest description beside it, and has what the
    /// sandbox served. Gives its file.
    pub async fn assert_kept(&self, event: &Value, asset: &str) -> PathBuf {
        let backup = &event["data"]["backup"];
        let location = url::Url::parse(backup["location"].as_str().expect("a location")).unwrap();
        let file = location.to_file_path().unwrap();
        let root = self.kept_folder().canonicalize().unwrap();
        assert!(file.starts_with(&root), "{location} is not in {}", root.display());
        self.assert_copy(event, asset, &file).await;
        file
    }

    /// The same of a copy whose file is known.
    pub async fn assert_copy(&self, event: &Value, asset: &str, file: &Path) {
        let (data, truth) = (&event["data"], self.sandbox.file(asset).await);
        let backup = &data["backup"];
        assert_eq!((&backup["length"], &backup["sha256"]), (&truth["length"], &truth["sha256"]), "{event}");
        assert_eq!(digest(file), truth, "{}", file.display());
        let folder = file.parent().unwrap();
        let descriptions =
            files_in(folder).into_iter().filter(|file| file.extension().is_some_and(|end| end == "json"));
        // One that a test has spoilt is none.
        let read = |file: PathBuf| serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()).ok();
        let described: Vec<Value> =
            descriptions.filter_map(read).filter(|text| text["location"] == backup["location"]).collect();
        let [described] = described.as_slice() else { panic!("one description of it: {described:?}") };
        for key in ["length", "sha256"] {
            assert_eq!(described[key], backup[key]);
        }
        assert_eq!((&described["request_id"], &described["asset_id"]), (&data["request_id"], &json!(asset)));
    }
}

/// Length and SHA-256 of a file, without reading it into memory.
pub fn digest(file: &Path) -> Value {
    let (mut file, mut hash, mut buffer, mut length) =
        (std::fs::File::open(file).unwrap(), Sha256::new(), vec![0; 1 << 20], 0);
    loop {
        let read = file.read(&mut buffer).unwrap();
        if read == 0 {
            return json!({"length": length, "sha256": hex::encode(hash.finalize())});
        }
        length += read;
        hash.update(&buffer[..read]);
    }
}

/// Every file below a folder, sorted; none where there is no folder.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// The names of every file below a folder: `backup.json`, and the rest as what it begins with.
pub fn names_in(folder: &Path) -> Vec<String> {
    let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
    let short = |name: String| if name.starts_with("asset-") { "asset-…".to_owned() } else { name };
    files_in(folder).iter().map(name).map(short).collect()
}

/// The calls on one asset until it was deleted.
pub fn before_deletion(calls: Vec<Value>) -> Vec<Value> {
    calls.into_iter().take_while(|call| call["took_effect"] != true || call["operation"] != "delete").collect()
}
