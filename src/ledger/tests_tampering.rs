//! Whoever changes what is on record is found out.

use rusqlite::Connection;

use super::tests::{asked, at, begin, id, open_in};
use super::tests_postgres::Database;
use super::*;

/// Each with what has to be said of request `r`. `@` stands for the schema.
const TAMPERINGS: [(&str, &str); 10] = [
    ("UPDATE @history SET why = 'already_absent' WHERE request_id = 'r' AND number = 3", "entry 3 was changed"),
    (
        "UPDATE @history SET at = '2020-01-01T00:00:00.000Z' WHERE request_id = 'r' AND number = 1",
        "entry 1 was changed",
    ),
    ("UPDATE @history SET hash = '00' WHERE request_id = 'r' AND number = 1", "entry 1 was changed"),
    ("DELETE FROM @history WHERE request_id = 'r' AND number = 2", "entry 2 is missing"),
    ("DELETE FROM @history WHERE request_id = 'r' AND number = 3", "entries after the last one are missing"),
    ("DELETE FROM @history WHERE request_id = 'r'", "all of its entries are missing"),
    ("UPDATE @requests SET event = 'another' WHERE request_id = 'r'", "its event was changed"),
    ("UPDATE @requests SET request = 'another' WHERE request_id = 'r'", "what was asked was changed"),
    ("UPDATE @requests SET outcome = 'failed' WHERE request_id = 'r'", "the row does not say what its last entry says"),
    ("UPDATE @requests SET asset_id = 'b' WHERE request_id = 'r'", "entry 1 was changed"),
];

async fn recorded(ledger: &Ledger) {
    for request in ["a-good-one", "r", "z-good-one"] {
        begin(ledger, asked(request, "a"), at(0)).await;
        ledger.deleting(&id(request), at(1)).await.unwrap();
        ledger.decide(&id(request), "deleted", "event".into(), at(2)).await.unwrap();
    }
}

async fn found_out(ledger: &Ledger, what: &str) {
    let verified = ledger.verify(None).await.unwrap().unwrap();
    let [(request, said)] = verified.problems.as_slice() else { panic!("{what}: {verified:?}") };
    assert!(*request == id("r") && said.starts_with(what), "{what}: {said}");
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
    }
}

#[tokio::test]
async fn in_a_database() {
    for (sql, what) in TAMPERINGS {
        let database = Database::new().await;
        let ledger = database.open().await;
        recorded(&ledger).await;
        database.run(&sql.replace('@', "asset_eraser.")).await;
        found_out(&ledger, what).await;
        database.remove().await;
    }
}
