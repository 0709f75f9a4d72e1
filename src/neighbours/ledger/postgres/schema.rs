//! The schema in the database: made, or brought up to date, by whichever worker comes first.

use deadpool_postgres::Transaction;
use tokio::time::timeout;

use super::ANSWER_LIMIT;
use super::connections::Connections;
use crate::neighbours::ledger::LedgerError;
use crate::platform::postgres::PostgresFault;

/// What leads from each version to the next; how many there are is the version that this release reads and writes.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];

/// The advisory lock of a worker that changes the schema: "aeld" in ASCII. Requests' locks are hashes, so that a collision
/// costs a moment's wait.
const LOCK: i64 = 0x6165_6c64;

/// Brings the schema up to date. Any number of workers may call this at once: one works, the others wait and find it
/// done. All of it is one transaction, so that a crash leaves nothing half made.
pub(super) async fn make_ready(connections: &Connections) -> Result<(), LedgerError> {
    let cannot = |fault: PostgresFault| {
        let (what, advice) = fault.told();
        LedgerError::Open { place: connections.database.place(), what, advice }
    };
    let work = async {
        let mut client = connections.database.get().await?;
        let transaction = client.transaction().await?;
        let found = migrate(&transaction).await?;
        transaction.commit().await?;
        Ok(found)
    };
    let found = timeout(ANSWER_LIMIT, work).await.map_err(|_| connections.silent())?.map_err(cannot)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(LedgerError::Newer { place: connections.database.place(), found, known });
    }
    Ok(())
}

/// Returns the version found, which is beyond ours when a later release has been here.
async fn migrate(transaction: &Transaction<'_>) -> Result<i64, PostgresFault> {
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let there = transaction.query_one("SELECT to_regclass('asset_eraser.schema_version') IS NOT NULL", &[]).await?;
    if !there.get::<_, bool>(0) {
        let begin = "CREATE SCHEMA IF NOT EXISTS asset_eraser;
                     CREATE TABLE asset_eraser.schema_version (version bigint NOT NULL);
                     INSERT INTO asset_eraser.schema_version VALUES (0);";
        transaction.batch_execute(begin).await?;
    }
    let found: i64 = transaction.query_one("SELECT version FROM asset_eraser.schema_version", &[]).await?.get(0);
    let mut version = found;
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        transaction.batch_execute(migration).await?;
        version += 1;
    }
    if version > found {
        transaction.execute("UPDATE asset_eraser.schema_version SET version = $1", &[&version]).await?;
    }
    Ok(version)
}
