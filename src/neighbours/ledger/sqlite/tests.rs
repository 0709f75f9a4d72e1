//! A panic over one question or one change: that of the caller alone.

use rusqlite::Connection;

use super::super::state::{Illegal, Step};
use super::*;
use crate::platform::panics::caught;

async fn open(folder: &Path) -> Sqlite {
    Sqlite::open(folder.join("ledger.db"), Metrics::new().unwrap()).await.unwrap()
}

fn count(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("SELECT count(*) FROM test", [], |row| row.get(0))
}

fn insert(connection: &Connection) -> rusqlite::Result<((), usize)> {
    connection.execute("INSERT INTO test VALUES (1)", []).map(|rows| ((), rows))
}

#[tokio::test]
async fn a_verb_that_panics_does_so_where_it_was_called_and_the_others_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = open(folder.path()).await;
    sqlite.write(|connection| connection.execute("CREATE TABLE test (n)", []).map(|_| ((), 1))).await.unwrap();
    let verb = |_: Option<Row>, _: Timestamp| -> Result<Step<()>, Illegal> { panic!("over one row") };
    for written in 1..=3 {
        let call = Call { id: RequestId::parse("r").unwrap(), brake: None, clock: Clock::default(), verb };
        let (panicked, other) = tokio::join!(caught(sqlite.run(call)), sqlite.write(insert));
        assert_eq!(panicked.map(|_| ()), Err("over one row".to_owned()));
        other.unwrap();
        assert_eq!(sqlite.reader.ask(count).await.unwrap(), written);
    }
    sqlite.close().await;
}

#[tokio::test]
async fn a_panic_in_the_middle_of_a_change_leaves_nothing_of_it_and_the_writer_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = open(folder.path()).await;
    sqlite.write(|connection| connection.execute("CREATE TABLE test (n)", []).map(|_| ((), 1))).await.unwrap();
    let half = |connection: &Connection| -> rusqlite::Result<((), usize)> {
        insert(connection)?;
        panic!("half-way")
    };
    let error = sqlite.write(half).await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("a panic while it was written"), "{error}");
    assert_eq!(sqlite.reader.ask(count).await.unwrap(), 0);
    sqlite.write(insert).await.unwrap();
    sqlite.probe().await.unwrap();
    assert_eq!(sqlite.reader.ask(count).await.unwrap(), 1);
    sqlite.close().await;
}

#[tokio::test]
async fn a_question_that_panics_does_so_where_it_was_asked_and_the_next_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = open(folder.path()).await;
    let ask = sqlite.reader.ask(|_| -> rusqlite::Result<()> { panic!("over one answer") });
    assert_eq!(caught(ask).await.map(|_| ()), Err("over one answer".to_owned()));
    assert_eq!(sqlite.load(&RequestId::parse("r").unwrap()).await.unwrap(), None);
    sqlite.close().await;
}

#[tokio::test]
async fn a_private_ledger_is_closed_to_others_and_leaves_nothing_behind() {
    use std::os::unix::fs::PermissionsExt;
    let one = Sqlite::open_private(Metrics::new().unwrap()).await.unwrap();
    let other = Sqlite::open_private(Metrics::new().unwrap()).await.unwrap();
    assert_ne!(one.id(), other.id(), "each is one of its own");
    let folder = one.file.parent().unwrap().to_owned();
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let clone = one.clone();
    one.close().await;
    assert!(folder.exists(), "a clone still uses it");
    clone.probe().await.unwrap();
    clone.close().await;
    assert!(!folder.exists());
}
