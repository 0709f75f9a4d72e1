//! A change of what is on record is found out.

use rusqlite::Connection;

use super::super::tests::{asked, at, begin, first, id, of, open_in};
use super::super::*;
use super::backups::copy;
use super::only_postgres::TestDatabase;

/// Each with what has to be said of request `r`. `@` stands for the schema.
const TAMPERINGS: [(&str, &str); 22] = [
    ("UPDATE @history SET why = 'already_absent' WHERE request_id = 'r' AND number = 4", "entry 4 was changed"),
    (
        "UPDATE @history SET at = '2020-01-01T00:00:00.000Z' WHERE request_id = 'r' AND number = 1",
        "entry 1 was changed",
    ),
    ("UPDATE @history SET hash = '00' WHERE request_id = 'r' AND number = 1", "entry 1 was changed"),
    ("DELETE FROM @history WHERE request_id = 'r' AND number = 2", "entry 2 is missing"),
    ("DELETE FROM @history WHERE request_id = 'r' AND number = 4", "entries after the last one are missing"),
    ("DELETE FROM @history WHERE request_id = 'r'", "all of its entries are missing"),
    ("UPDATE @requests SET event = 'another' WHERE request_id = 'r'", "its event was changed"),
    ("UPDATE @requests SET request = 'another' WHERE request_id = 'r'", "what was asked was changed"),
    ("UPDATE @requests SET request = NULL WHERE request_id = 'r'", "what was asked was changed"),
    (
        "UPDATE @requests SET outcome = 'failed', proof = NULL WHERE request_id = 'r'",
        "the row does not say what its last entry says",
    ),
    ("UPDATE @requests SET asset_id = 'b' WHERE request_id = 'r'", "entry 1 was changed"),
    ("UPDATE @requests SET case_id = 'other' WHERE request_id = 'r'", "the row does not say what was asked and done"),
    ("UPDATE @requests SET deletes = 0 WHERE request_id = 'r'", "the row does not say what was asked and done"),
    ("UPDATE @requests SET seen = FALSE WHERE request_id = 'r'", "the row does not say what was asked and done"),
    ("UPDATE @requests SET proof = 'absent' WHERE request_id = 'r'", "the row does not say what was asked and done"),
    ("UPDATE @requests SET backup = NULL WHERE request_id = 'r'", "the row does not say which copy was made"),
    (
        "UPDATE @requests SET backup = replace(backup, 'aa', 'bb') WHERE request_id = 'r'",
        "the row does not say which copy was made",
    ),
    (
        "UPDATE @requests SET backup = replace(backup, '1234', '1235') WHERE request_id = 'r'",
        "the row does not say which copy was made",
    ),
    (
        "UPDATE @requests SET backup = replace(backup, 'one', 'two') WHERE request_id = 'r'",
        "the row does not say which copy was made",
    ),
    ("UPDATE @history SET digest = '00' WHERE request_id = 'r' AND number = 2", "entry 2 was changed"),
    ("UPDATE @requests SET backup_asked = TRUE WHERE request_id = 'r'", "the row does not say what was asked and done"),
    (
        "UPDATE @requests SET first_seen = '2020-01-01T00:00:00.000Z' WHERE request_id = 'r'",
        "the row does not say what was asked and done",
    ),
];

/// The same for a tombstone.
const OF_TOMBSTONES: [(&str, &str); 12] = [
    ("UPDATE @requests SET outcome = 'failed', proof = NULL WHERE request_id = 'r'", "the tombstone was changed"),
    ("UPDATE @requests SET asset_id = 'b' WHERE request_id = 'r'", "the tombstone was changed"),
    ("UPDATE @requests SET case_id = NULL WHERE request_id = 'r'", "the tombstone was changed"),
    ("UPDATE @requests SET deletes = 0 WHERE request_id = 'r'", "the tombstone was changed"),
    ("UPDATE @requests SET seen = TRUE WHERE request_id = 'r'", "the tombstone was changed"),
    ("UPDATE @requests SET proof = 'absent' WHERE request_id = 'r'", "the tombstone was changed"),
    ("UPDATE @requests SET updated = '2020-01-01T00:00:00.000Z' WHERE request_id = 'r'", "the tombstone was changed"),
    ("UPDATE @requests SET sealed = '00' WHERE request_id = 'r'", "the tombstone was changed"),
    ("UPDATE @requests SET request = '{}' WHERE request_id = 'r'", "the tombstone was changed"),
    ("UPDATE @requests SET backup_asked = TRUE WHERE request_id = 'r'", "the tombstone was changed"),
    (
        r#"UPDATE @requests SET backup = '{"location":"s3://b/a","length":1,"sha256":"aa","entry":2}' WHERE request_id = 'r'"#,
        "the tombstone was changed",
    ),
    ("UPDATE @history SET request_id = 'r' WHERE request_id = 'open'", "it is a tombstone, and has entries"),
];

/// As much of an event as is looked at.
const EVENT: &str = r#"{"data":{"proof":"erased"}}"#;

async fn recorded(ledger: &Ledger) {
    for request in ["a-good-one", "r", "z-good-one"] {
        begin(ledger, asked(request, "a"), at(0)).await;
        ledger.at(at(1)).backed_up(&first(request), &copy("one")).await.unwrap();
        ledger.at(at(1)).deleting(&first(request), None, true).await.unwrap();
        ledger.at(at(2)).decide(&first(request), &of("deleted"), |_| EVENT.into()).await.unwrap();
        ledger.heard(&id(request)).await.unwrap();
    }
}

async fn found_out_in_any(ledger: &Ledger, what: &str) {
    let problems = ledger.verify(None).await.unwrap().unwrap().problems;
    assert!(problems.iter().any(|(request, said)| *request == id("r") && said == what), "{what}: {problems:?}");
}

async fn found_out(ledger: &Ledger, what: &str) {
    let verified = ledger.verify(None).await.unwrap().unwrap();
    let [(request, said)] = verified.problems.as_slice() else { panic!("{what}: {verified:?}") };
    assert!(*request == id("r") && said.starts_with(what), "{what}: {said}");
}

/// Makes tombstones of what [`recorded`] made; one request stays open.
async fn compacted(ledger: &Ledger) {
    recorded(ledger).await;
    begin(ledger, asked("open", "a"), at(3)).await;
    let done = ledger.compact(RetentionSpan { after: None, before: at(3), most: 9 }).await.unwrap();
    assert_eq!((done.requests, done.kept), (3, vec![]));
}

/// What was tampered with is not compacted away.
async fn kept(ledger: &Ledger, what: &str) {
    let done = ledger.compact(RetentionSpan { after: None, before: at(3), most: 9 }).await.unwrap();
    // A row that was made younger than it is is not old.
    let all = done.requests == 2 && done.kept.len() <= 1;
    assert!(all && done.kept.iter().all(|(request, _)| *request == id("r")), "{what}: {done:?}");
    found_out(ledger, what).await;
}

#[tokio::test]
async fn in_a_file() {
    for (sql, what) in TAMPERINGS {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open_in(folder.path()).await;
        recorded(&ledger).await;
        let file = Connection::open(folder.path().join("ledger.db")).unwrap();
        file.execute_batch(&sql.replace('@', "")).unwrap();
        found_out(&ledger, what).await;
        kept(&ledger, what).await;
    }
}

/// A copy in the row of a request that has none.
const ADDED: &str = r#"UPDATE @requests SET backup = '{"location":"s3://b/a","length":1,"sha256":"aa","entry":2}'"#;

#[tokio::test]
async fn a_copy_that_was_never_made() {
    let what = "the row does not say which copy was made";
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    without_a_copy(&ledger).await;
    Connection::open(folder.path().join("ledger.db")).unwrap().execute_batch(&ADDED.replace('@', "")).unwrap();
    found_out(&ledger, what).await;

    let database = TestDatabase::new().await;
    let ledger = database.open().await;
    without_a_copy(&ledger).await;
    database.run(&ADDED.replace('@', "asset_eraser.")).await;
    found_out(&ledger, what).await;
    database.remove().await;
}

async fn without_a_copy(ledger: &Ledger) {
    begin(ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).deleting(&first("r"), None, false).await.unwrap();
    ledger.at(at(2)).decide(&first("r"), &of("deleted"), |_| "event".into()).await.unwrap();
    assert_eq!(ledger.verify(None).await.unwrap().unwrap().problems, []);
}

#[tokio::test]
async fn in_a_file_s_tombstones() {
    for (sql, what) in OF_TOMBSTONES {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open_in(folder.path()).await;
        compacted(&ledger).await;
        let file = Connection::open(folder.path().join("ledger.db")).unwrap();
        file.execute_batch(&sql.replace('@', "")).unwrap();
        found_out_in_any(&ledger, what).await;
    }
}

#[tokio::test]
async fn in_a_database_s_tombstones() {
    for (sql, what) in OF_TOMBSTONES {
        let database = TestDatabase::new().await;
        let ledger = database.open().await;
        compacted(&ledger).await;
        database.run(&sql.replace('@', "asset_eraser.")).await;
        found_out_in_any(&ledger, what).await;
        database.remove().await;
    }
}

const REMOVED: &str = "DELETE FROM @history WHERE request_id = 'r'; DELETE FROM @requests WHERE request_id = 'r'";

#[tokio::test]
async fn a_request_removed_whole_is_missed_in_its_case() {
    let missed = vec![("case".to_owned(), r#"1 requests with outcome "deleted" are missing"#.to_owned())];
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    recorded(&ledger).await;
    let file = Connection::open(folder.path().join("ledger.db")).unwrap();
    file.execute_batch(&REMOVED.replace('@', "")).unwrap();
    assert_eq!(ledger.verify_cases().await.unwrap(), missed);

    let database = TestDatabase::new().await;
    let ledger = database.open().await;
    recorded(&ledger).await;
    database.run(&REMOVED.replace('@', "asset_eraser.")).await;
    assert_eq!(ledger.verify_cases().await.unwrap(), missed);
    database.remove().await;
}

#[tokio::test]
async fn in_a_database() {
    for (sql, what) in TAMPERINGS {
        let database = TestDatabase::new().await;
        let ledger = database.open().await;
        recorded(&ledger).await;
        database.run(&sql.replace('@', "asset_eraser.")).await;
        found_out(&ledger, what).await;
        kept(&ledger, what).await;
        database.remove().await;
    }
}
