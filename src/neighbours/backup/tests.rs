//! Against real sockets and real folders, because what matters here is how each of them fails.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::neighbours::provider::AssetUrl;
use crate::platform::test_http::Server;
use crate::settings::Settings;

const SECRET: &str = "very-secret-token";
const DAY: &str = "2026-11-25T10:00:00Z";

/// Where a server has its one picture.
fn url(server: &Server) -> String {
    format!("{}/cat.png?sign=abc", server.origin)
}

fn png(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

fn http(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat()
}

fn picture(body: &[u8]) -> Vec<u8> {
    http(&format!("200 OK\r\ncontent-type: image/png\r\ncontent-length: {}", body.len()), body)
}

/// A store in a folder of its own, and one asset to keep.
struct Trial {
    folder: TempDir,
    backups: Backups,
    asset: Detail,
}

impl Trial {
    fn new(url: &str) -> Self {
        Self::with(url, &[])
    }

    fn with(url: &str, set: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("file://{}", folder.path().display());
        let all = [
            ("PROVIDER__TOKEN", SECRET),
            ("GUARD__NONE", "true"),
            ("BACKUP__URL", &store),
            ("BACKUP__ALLOW_HTTP", "true"),
            ("BACKUP__ALLOW_HOSTS", "127.0.0.1"),
        ];
        let all = all.iter().chain(set).map(|(key, value)| (format!("ASSET_ERASER__{key}"), (*value).to_owned()));
        let backups = Backups::new(Settings::load(None, all).unwrap().backup).unwrap();
        let asset = Detail {
            name: Some("Cat".into()),
            asset_type: Some("Image".into()),
            status: Some("Active".into()),
            url: AssetUrl::new(url),
            ..Detail::default()
        };
        Self { folder, backups, asset }
    }

    async fn keep(&self) -> Result<Kept, Trouble> {
        let turn = self.backups.turn(Duration::from_secs(5)).await.expect("a turn");
        let (request_id, asset_id) = (RequestId::parse("r/1").unwrap(), AssetId::parse("a-1").unwrap());
        let first_seen = DAY.parse().unwrap();
        self.backups
            .keep(&turn, Wanted { request_id: &request_id, asset_id: &asset_id, first_seen, asset: &self.asset })
            .await
    }

    /// Every file in the store, sorted.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let at = if entry.path().is_dir() { &mut folders } else { &mut found };
                at.push(entry.path());
            }
        }
        found.sort();
        found
    }
}

/// Whether the trouble is one that is tried again for long, for a little, or not at all; and its sentence.
async fn trouble(answer: impl Into<Vec<u8>>, set: &[(&str, &str)]) -> (&'static str, String) {
    let server = Server::answering(answer, false).await;
    let trial = Trial::with(&url(&server), set);
    let told = told(trial.keep().await);
    assert_eq!(trial.files(), Vec::<PathBuf>::new(), "nothing is left");
    assert!(!told.1.contains("127.0.0.1") && !told.1.contains("sign"), "{told:?}");
    told
}

fn told(kept: Result<Kept, Trouble>) -> (&'static str, String) {
    match kept.expect_err("there is no backup") {
        Trouble::Passing { why, .. } => ("passing", why),
        Trouble::Doubtful(why) => ("doubtful", why),
        Trouble::Lasting(why) => ("lasting", why),
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(bytes))
}

#[tokio::test]
async fn a_copy_is_kept_described_and_found_again() {
    let bytes = png(100_000);
    let server = Server::answering(picture(&bytes), false).await;
    let trial = Trial::new(&url(&server));
    let Ok(Kept::Made(backup)) = trial.keep().await else { panic!("made") };
    assert_eq!((backup.length, &backup.sha256), (100_000, &sha256(&bytes)));
    let [kept, description] = trial.files().try_into().unwrap();
    assert_eq!(std::fs::read(&kept).unwrap(), bytes);
    assert_eq!(url::Url::from_file_path(kept.canonicalize().unwrap()).unwrap().as_str(), backup.location);
    assert!(description.ends_with("2026/11/25/a-1/r=2F1/backup.json"), "{description:?}");
    let described: serde_json::Value = serde_json::from_slice(&std::fs::read(&description).unwrap()).unwrap();
    assert_eq!(described["location"], backup.location);
    assert_eq!((&described["request_id"], &described["asset_id"]), (&"r/1".into(), &"a-1".into()));
    assert_eq!((&described["content_type"], &described["asset"]["type"]), (&"image/png".into(), &"Image".into()));
    assert!(!described.to_string().contains("sign"), "{described}");

    assert_eq!(trial.keep().await, Ok(Kept::Found(backup)));
    assert_eq!(server.asked().len(), 1, "not downloaded again");
    let asked = server.asked()[0].to_lowercase();
    assert!(asked.starts_with("get /cat.png?sign=abc http/1.1\r\n"), "{asked}");
    assert!(!asked.contains("authorization") && !asked.contains(SECRET), "{asked}");
}

/// What a host or the provider says may be of any length, and grows when it is written as JSON.
#[tokio::test]
async fn a_copy_is_found_again_whatever_was_said_of_it() {
    let bytes = png(1_000);
    for long in ["x".repeat(70_000), "é".repeat(1_000), "\u{1}".repeat(100_000)] {
        let told = if long.starts_with('\u{1}') { "a" } else { &long };
        let head = format!("200 OK\r\ncontent-type: image/png;{told}\r\ncontent-length: {}", bytes.len());
        let server = Server::answering(http(&head, &bytes), false).await;
        let mut trial = Trial::new(&format!("{}{}", url(&server), "/x".repeat(1_500)));
        let said = Some(long.clone());
        (trial.asset.name, trial.asset.created, trial.asset.status) = (said.clone(), said.clone(), said);
        let kept = trial.keep().await;
        let Ok(Kept::Made(backup)) = kept else { panic!("{kept:?}") };
        assert_eq!(trial.keep().await, Ok(Kept::Found(backup)));
        assert_eq!(server.asked().len(), 1, "not downloaded again");
    }
}

#[tokio::test]
async fn a_copy_in_many_pieces_is_the_same_bytes() {
    let bytes = png((20 << 20) + 7);
    let server = Server::answering(picture(&bytes), false).await;
    let trial = Trial::new(&url(&server));
    let Ok(Kept::Made(backup)) = trial.keep().await else { panic!("made") };
    assert_eq!((backup.length, backup.sha256), (bytes.len() as u64, sha256(&bytes)));
    assert!(std::fs::read(&trial.files()[0]).unwrap() == bytes);
}

#[tokio::test]
async fn a_copy_that_is_no_longer_whole_is_not_trusted_and_not_touched() {
    let server = Server::answering(picture(&png(1000)), false).await;
    let trial = Trial::new(&url(&server));
    let Ok(Kept::Made(first)) = trial.keep().await else { panic!("made") };
    let damaged = trial.files()[0].clone();
    std::fs::write(&damaged, png(999)).unwrap();
    let Ok(Kept::Made(second)) = trial.keep().await else { panic!("made again") };
    assert_ne!(first.location, second.location);
    assert_eq!(std::fs::read(&damaged).unwrap(), png(999));
    assert_eq!(trial.files().len(), 4);
    assert!(matches!(trial.keep().await, Ok(Kept::Found(found)) if found == second));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_description_that_is_none_of_ours_is_not_followed() {
    let server = Server::answering(picture(&png(10)), false).await;
    let trial = Trial::new(&url(&server));
    let place = trial.folder.path().join("2026/11/25/a-1/r=2F1");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("backup.json"), "{\"length\":").unwrap();
    std::fs::write(place.join("backup-2.json"), " ".repeat(100_000)).unwrap();
    assert!(matches!(trial.keep().await, Ok(Kept::Made(_))));
    assert!(place.join("backup-3.json").exists());
}

#[tokio::test]
async fn what_is_not_all_of_the_asset_is_no_backup() {
    let (kind, why) = trouble(http("200 OK\r\ncontent-length: 100", &png(99)), &[]).await;
    assert_eq!((kind, why.contains("broke")), ("passing", true), "{why}");
    let pieces = [&picture(&png(10 << 20))[..9 << 20]].concat();
    assert_eq!(trouble(pieces, &[]).await.0, "passing");
    let chunked = "200 OK\r\ntransfer-encoding: chunked";
    assert_eq!(trouble(http(chunked, b"5\r\nabcde\r\n5\r\nabc"), &[]).await.0, "passing");
    assert_eq!(trouble(http(chunked, b"5\r\nabcde\r\n"), &[]).await.0, "passing");
    let (kind, why) = trouble(http("200 OK", &png(99)), &[]).await;
    assert_eq!((kind, why.contains("where the asset ends")), ("doubtful", true), "{why}");
    let (kind, why) = trouble(picture(b""), &[]).await;
    assert_eq!((kind, why.contains("nothing at all")), ("doubtful", true), "{why}");
    assert_eq!(trouble(http("206 Partial Content\r\ncontent-length: 9", &png(9)), &[]).await.0, "doubtful");
    let page = "200 OK\r\ncontent-type: text/html\r\ncontent-length: 9";
    assert_eq!(trouble(http(page, &png(9)), &[]).await.0, "doubtful");
}

#[tokio::test]
async fn a_whole_chunked_answer_is_a_backup() {
    let server =
        Server::answering(http("200 OK\r\ntransfer-encoding: chunked", b"5\r\nabcde\r\n0\r\n\r\n"), false).await;
    let Ok(Kept::Made(backup)) = Trial::new(&url(&server)).keep().await else { panic!("made") };
    assert_eq!(backup.length, 5);
}

#[tokio::test]
async fn what_is_too_large_is_not_kept_whether_announced_or_not() {
    let limit = [("BACKUP__MAX_SIZE", "1000B")];
    for answer in [
        picture(&png(1001)),
        http("200 OK\r\ncontent-length: 99999999999999", b""),
        http("200 OK\r\ntransfer-encoding: chunked", &[b"3e9\r\n", &png(1001)[..], b"\r\n0\r\n\r\n"].concat()),
    ] {
        let (kind, why) = trouble(answer, &limit).await;
        assert_eq!((kind, why.contains("larger than 1000B")), ("lasting", true), "{why}");
    }
    let server = Server::answering(picture(&png(1000)), false).await;
    assert!(matches!(Trial::with(&url(&server), &limit).keep().await, Ok(Kept::Made(_))));
}

#[tokio::test]
async fn a_status_says_whether_to_try_again() {
    for (status, kind) in [(500, "passing"), (503, "passing"), (429, "passing"), (401, "passing"), (403, "passing")]
        .into_iter()
        .chain([(404, "doubtful"), (410, "doubtful"), (400, "doubtful"), (304, "doubtful"), (204, "doubtful")])
    {
        let answer = http(&format!("{status} X\r\ncontent-length: 0"), b"");
        assert_eq!(trouble(answer, &[]).await.0, kind, "{status}");
    }
    let server = Server::answering(http("503 Busy\r\nretry-after: 7\r\ncontent-length: 0", b""), false).await;
    let kept = Trial::new(&url(&server)).keep().await;
    assert!(matches!(kept, Err(Trouble::Passing { after: Some(after), .. }) if after.as_secs() == 7));
}

#[tokio::test]
async fn nothing_is_asked_that_is_not_public_and_no_other_scheme() {
    let server = Server::answering(picture(&png(10)), false).await;
    let by_name = url(&server).replace("127.0.0.1", "localhost");
    for (url, set) in [
        (url(&server).as_str(), [("BACKUP__ALLOW_HOSTS", "")].as_slice()),
        (&by_name, &[]),
        (&url(&server), &[("BACKUP__ALLOW_HTTP", "false")]),
        ("ftp://127.0.0.1/x", &[]),
        ("nothing", &[]),
        ("", &[]),
    ] {
        let (kind, why) = told(Trial::with(url, set).keep().await);
        assert_eq!(kind, "lasting", "{url}: {why}");
    }
    assert_eq!(server.asked().len(), 0);
    let allowed = Trial::with(&by_name, &[("BACKUP__ALLOW_HOSTS", "localhost")]);
    assert!(matches!(allowed.keep().await, Ok(Kept::Made(_))));
}

#[tokio::test]
async fn a_redirect_is_followed_only_where_the_first_url_could_have_led() {
    let there = Server::answering(picture(&png(10)), false).await;
    let to = |url: &str| http(&format!("302 Found\r\nlocation: {url}\r\ncontent-length: 0"), b"");
    let from = Server::answering(to(&url(&there)), false).await;
    assert!(matches!(Trial::new(&url(&from)).keep().await, Ok(Kept::Made(_))));
    assert_eq!(there.asked().len(), 1);
    for (url, why) in [
        (url(&there).replace("http:", "https:"), "another scheme"),
        (url(&there).replace("127.0.0.1", "localhost"), "public"),
        (url(&there).replace("127.0.0.1", "127.0.0.2"), "public"),
        (url(&there).replace("127.0.0.1", "[::1]"), "public"),
        ("/cat.png".to_owned(), "again and again"),
    ] {
        let (kind, said) = trouble(to(&url), &[]).await;
        assert_eq!((kind, said.contains(why)), ("lasting", true), "{url}: {said}");
    }
    assert_eq!(there.asked().len(), 1);
}

#[tokio::test]
async fn an_asset_that_has_no_url_yet_may_have_one_later() {
    let mut trial = Trial::new("");
    assert_eq!(told(trial.keep().await).0, "lasting");
    trial.asset.status = Some("Processing".into());
    assert_eq!(told(trial.keep().await).0, "passing");
}

#[tokio::test]
async fn time_is_limited_and_turns_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let trial = Trial::with(&url, &[("BACKUP__TIMEOUT", "1s"), ("BACKUP__CONCURRENCY", "1")]);
    assert_eq!(told(trial.keep().await).0, "passing");
    let turn = trial.backups.turn(Duration::ZERO).await;
    assert!(turn.is_some() && trial.backups.turn(Duration::ZERO).await.is_none());
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_said_and_ends_the_start_where_it_is_named() {
    let server = Server::answering(picture(&png(10)), false).await;
    let trial = Trial::new(&url(&server));
    // Not even root can make a folder of a file.
    std::fs::create_dir_all(trial.folder.path().join("2026/11/25")).unwrap();
    std::fs::write(trial.folder.path().join("2026/11/25/a-1"), "").unwrap();
    let (kind, why) = told(trial.keep().await);
    assert_eq!((kind, why.contains("the store of backups")), ("passing", true), "{why}");
    let file = trial.folder.path().join("2026/11/25/a-1");
    let settings =
        settings::BackupSettings { store: settings::BackupStore::Folder(file), ..trial.backups.settings.clone() };
    let error = Backups::new(settings).unwrap_err().to_string();
    assert!(error.starts_with("backup.url: "), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_made_is_for_nobody_else_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let trial = Trial::new("");
    let folder = trial.folder.path().join("some/new");
    Backups::new(settings::BackupSettings {
        store: settings::BackupStore::Folder(folder.clone()),
        ..trial.backups.settings
    })
    .unwrap();
    assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_probe_writes_and_leaves_nothing() {
    let trial = Trial::new("");
    assert_eq!(trial.backups.probe().await, Ok(()));
    assert_eq!(trial.files(), Vec::<PathBuf>::new());
}

/// A store in memory that is not what it should be.
#[derive(Debug)]
struct Odd {
    inner: InMemory,
    how: Oddity,
}

#[derive(Debug, PartialEq, Eq)]
enum Oddity {
    /// It writes descriptions, and answers that there were some already: what a client hears that has tried again after an
    /// answer was lost.
    Forgets,
    /// It gives back other bytes of the same length than were written.
    Damages,
}

impl Odd {
    fn store(how: Oddity) -> (Arc<dyn ObjectStore>, Store) {
        let objects: Arc<dyn ObjectStore> = Arc::new(Self { inner: InMemory::new(), how });
        let store = Store { objects: Arc::clone(&objects), base: "s3://bucket".into(), prefix: String::new() };
        (objects, store)
    }

    /// The bytes of an object, back to front.
    async fn damaged(&self, key: &Path, how: GetOptions) -> object_store::Result<GetResult> {
        let mut bytes = self.inner.get_opts(key, how.clone()).await?.bytes().await?.to_vec();
        bytes.reverse();
        let mut got = self.inner.get_opts(key, how).await?;
        got.payload = GetResultPayload::Stream(futures_util::stream::iter([Ok(bytes.into())]).boxed());
        Ok(got)
    }
}

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Odd")
    }
}

#[async_trait]
impl ObjectStore for Odd {
    async fn put_opts(&self, key: &Path, bytes: PutPayload, how: PutOptions) -> object_store::Result<PutResult> {
        let put = self.inner.put_opts(key, bytes, how).await?;
        let forgotten = || object_store::Error::AlreadyExists { path: key.to_string(), source: "so it says".into() };
        if self.how == Oddity::Forgets { Err(forgotten()) } else { Ok(put) }
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        how: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(key, how).await
    }

    async fn get_opts(&self, key: &Path, how: GetOptions) -> object_store::Result<GetResult> {
        if self.how == Oddity::Damages { self.damaged(key, how).await } else { self.inner.get_opts(key, how).await }
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, how).await
    }
}

#[tokio::test]
async fn a_copy_whose_description_has_arrived_although_nobody_said_so_is_a_backup() {
    let server = Server::answering(picture(&png(1000)), false).await;
    let mut trial = Trial::new(&url(&server));
    let (objects, store) = Odd::store(Oddity::Forgets);
    trial.backups.store = OnceCell::new_with(Some(store));
    let Ok(Kept::Made(backup)) = trial.keep().await else { panic!("made") };
    let key = Path::from(backup.location.strip_prefix("s3://bucket/").unwrap());
    assert_eq!(objects.get(&key).await.unwrap().bytes().await.unwrap(), png(1000));
    assert_eq!(trial.keep().await, Ok(Kept::Found(backup)));
}

#[tokio::test]
async fn a_store_that_gives_back_other_bytes_keeps_no_backup() {
    let server = Server::answering(picture(&png(1000)), false).await;
    let mut trial = Trial::new(&url(&server));
    let (objects, store) = Odd::store(Oddity::Damages);
    trial.backups.store = OnceCell::new_with(Some(store));
    let Err(Trouble::Passing { why, .. }) = trial.keep().await else { panic!("it is not what was written") };
    assert!(why.contains("other bytes than were written"), "{why}");
    assert!(objects.list(None).next().await.is_none(), "what nothing describes is taken away");
}

#[tokio::test]
async fn of_two_who_make_the_same_copy_at_once_one_is_described_and_the_other_leaves_nothing() {
    let server = Server::answering(picture(&png(1000)), false).await;
    let trial = Trial::new(&url(&server));
    let (one, other) = tokio::join!(trial.keep(), trial.keep());
    let of = |kept: Result<Kept, Trouble>| match kept {
        Ok(Kept::Made(backup) | Kept::Found(backup)) => backup,
        Err(trouble) => panic!("{trouble:?}"),
    };
    assert_eq!(of(one), of(other));
    assert_eq!((server.asked().len(), trial.files().len()), (2, 2));
}
