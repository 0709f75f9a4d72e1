//! What only a file can do or suffer.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rusqlite::Connection;

use super::super::tests::{asked, assert_some_is_there, at, begin, first, id, nth, of, open_in, record_some, recorded};
use super::super::*;

fn connect(folder: &Path) -> Connection {
    Connection::open(folder.join("ledger.db")).unwrap()
}

async fn fails_to_open(folder: &Path) -> LedgerError {
    let url = format!("sqlite://{}", folder.join("ledger.db").display());
    Ledger::open(&url.into(), Metrics::new().unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    record_some(&ledger).await;
    ledger.at(at(5)).refuse(&id("refused"), None, |_| "refusal".into()).await.unwrap();
    ledger.close().await;

    let ledger = open_in(folder.path()).await;
    assert_some_is_there(&ledger).await;
    assert_eq!(
        ledger.at(at(8)).refuse(&id("refused"), None, |_| "refusal".into()).await.unwrap(),
        recorded("refusal", None)
    );
}

#[tokio::test]
async fn an_answer_is_in_the_file_when_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).deleting(&first("r"), None, false).await.unwrap();
    let row: (String, String, String, u32, String, String) = connect(folder.path())
        .query_row("SELECT asset_id, request, state, deletes, first_seen, updated FROM requests", [], |row| {
            row.try_into()
        })
        .unwrap();
    let request = r#"{"request_id":"r","asset_id":"a","case_id":"case"}"#;
    let (first, updated) = ("2023-11-14T22:13:20.123Z", "2023-11-14T22:13:21.123Z");
    assert_eq!(row, ("a".into(), request.into(), "deleting".into(), 1, first.into(), updated.into()));
}

#[tokio::test]
async fn a_reader_waits_for_no_writer() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    begin(&ledger, asked("r", "a"), at(0)).await;
    let other = connect(folder.path());
    other.execute_batch("BEGIN IMMEDIATE; UPDATE requests SET attempts = 9").unwrap();
    assert_eq!(ledger.request(&id("r")).await.unwrap().unwrap().attempts, 1, "only what is committed is told");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(ledger.request(&id("r")).await.unwrap().unwrap().attempts, 9);
}

#[tokio::test]
async fn a_file_of_a_later_release_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    open_in(folder.path()).await.close().await;
    connect(folder.path()).pragma_update(None, "user_version", 7).unwrap();
    let error = fails_to_open(folder.path()).await;
    assert!(matches!(error, LedgerError::Newer { found: 7, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("ledger.db has schema version 7"), "{error}");
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    connect(folder.path()).execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(folder.path().join("ledger.db")).unwrap();
    let error = fails_to_open(folder.path()).await;
    assert!(matches!(error, LedgerError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read(folder.path().join("ledger.db")).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ledger.db"), "not a database, but long enough to be looked at ".repeat(50))
        .unwrap();
    let error = fails_to_open(folder.path()).await;
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
}

#[tokio::test]
async fn a_missing_folder_is_said_to_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let error = fails_to_open(&folder.path().join("nowhere")).await;
    assert!(error.to_string().contains("check that its folder exists"), "{error}");
}

#[tokio::test]
async fn requests_at_once_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    let LedgerStore::Sqlite(sqlite) = &ledger.store else { unreachable!("opened as a file") };
    let numbers: Vec<String> = (0..100).map(|n| format!("r{n}")).collect();
    let begun = join_all(numbers.iter().map(|n| begin(&ledger, asked(n, "a"), at(0)))).await;
    assert_eq!(begun.len(), 100);
    assert!((1..=20).contains(&sqlite.commits()), "{} commits", sqlite.commits());
}

#[tokio::test]
async fn the_same_request_at_once_is_counted_and_decided_once() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    let begun = join_all((0..50).map(|_| begin(&ledger, asked("r", "a"), at(0)))).await;
    let mut attempts: Vec<u32> = begun.iter().map(|record| record.attempts).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, (1..=50).collect::<Vec<_>>());
    let last = nth("r", 50);
    let ledger = ledger.at(at(1));
    let failed = of("failed");
    let events = join_all((0..50).map(|n| ledger.decide(&last, &failed, move |_| format!("e{n}")))).await;
    let first = events[0].clone().unwrap();
    assert!(events.into_iter().all(|event| event.unwrap() == first));
}

#[tokio::test]
async fn a_locked_file_is_unavailable_until_it_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    begin(&ledger, asked("r", "a"), at(0)).await;
    let other = connect(folder.path());
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();

    let start = Instant::now();
    let attempt = first("r");
    // The late one queues up behind a transaction that is already waiting for the lock.
    let late = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        ledger.probe().await
    };
    let ledger = ledger.at(at(1));
    let (early, late) = tokio::join!(ledger.deleting(&attempt, None, false), late);
    assert!(start.elapsed() < Duration::from_secs(3), "took {:?}", start.elapsed());
    let error = early.unwrap_err();
    assert!(error.is_unavailable() && late.unwrap_err().is_unavailable());
    assert!(error.to_string().contains("another process holds it locked"), "{error}");

    other.execute_batch("ROLLBACK").unwrap();
    ledger.probe().await.unwrap();
    assert_eq!(begin(&ledger, asked("r", "a"), at(2)).await.deletes, 0, "a failed change must leave no trace");
    ledger.at(at(3)).deleting(&nth("r", 2), None, false).await.unwrap();
}

#[tokio::test]
async fn a_lock_that_passes_is_waited_out() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    let other = connect(folder.path());
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        other.execute_batch("ROLLBACK").unwrap();
    };
    let (probed, ()) = tokio::join!(ledger.probe(), release);
    probed.unwrap();
}

#[tokio::test]
async fn a_row_spoilt_by_hand_stops_no_other_request() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    begin(&ledger, asked("bad", "a"), at(0)).await;
    connect(folder.path()).execute_batch("UPDATE requests SET first_seen = 'yesterday'").unwrap();
    let ledger = ledger.at(at(1));
    let (bad, good) = tokio::join!(
        ledger.begin(asked("bad", "a"), Beside::NoSuspect),
        ledger.begin(asked("good", "a"), Beside::NoSuspect)
    );
    let error = bad.unwrap_err();
    assert!(matches!(&error, LedgerError::Unreadable { request_id, .. } if request_id.as_str() == "bad"), "{error}");
    assert!(matches!(good.unwrap(), Begun::Open(_)));
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_taken_away_is_noticed_before_anything_is_promised() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    let (file, aside) = (folder.path().join("ledger.db"), folder.path().join("aside.db"));
    std::fs::rename(&file, &aside).unwrap();
    assert!(ledger.at(at(0)).begin(asked("r", "a"), Beside::NoSuspect).await.unwrap_err().is_unavailable());
    std::fs::copy(&aside, &file).unwrap();
    let error = ledger.probe().await.unwrap_err();
    assert!(error.to_string().contains("replaced while in use"), "{error}");
}

#[tokio::test]
async fn the_writer_ends_with_the_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    let LedgerStore::Sqlite(sqlite) = &ledger.store else { unreachable!("opened as a file") };
    let mut ended = sqlite.ended();
    let clone = ledger.clone();
    drop(ledger);
    clone.probe().await.unwrap();
    assert!(ended.has_changed().is_ok(), "a handle is left");
    drop(clone);
    let ended = tokio::time::timeout(Duration::from_secs(5), ended.changed()).await.expect("the writer goes on");
    assert!(ended.is_err(), "its end of the channel is gone");
    assert!(!folder.path().join("ledger.db-wal").exists(), "the file was closed cleanly");
}
