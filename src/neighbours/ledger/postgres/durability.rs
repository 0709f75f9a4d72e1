//! What a database may lose although it answers every commit.

use deadpool_postgres::Transaction;

use crate::platform::postgres::{PostgresFault, column};

/// Every login may ask this: `pg_stat_replication` hides its details from most, but not its rows. A row whose state is
/// `backup` is a copy that is being made, which follows nothing.
const QUESTION: &str = "SELECT pg_catalog.current_setting('fsync') = 'off' AS unsynced,
    pg_catalog.current_setting('synchronous_standby_names') = '' AND EXISTS (
        SELECT FROM pg_catalog.pg_stat_replication WHERE state IS DISTINCT FROM 'backup') AS asynchronous";

const UNSYNCED: &str = "fsync is off, so a crash of its machine can destroy the ledger: set fsync = on";
const ASYNCHRONOUS: &str = "its standbys are asynchronous, so a failover to one can lose decisions, whose requests would \
     be carried out again: set synchronous_standby_names";

/// One sentence for each thing that could be lost.
pub(super) async fn warnings(transaction: &Transaction<'_>) -> Result<Vec<&'static str>, PostgresFault> {
    let answer = transaction.query_one(QUESTION, &[]).await?;
    let found = [(column(&answer, "unsynced")?, UNSYNCED), (column(&answer, "asynchronous")?, ASYNCHRONOUS)];
    Ok(found.into_iter().filter_map(|(so, warning): (bool, _)| so.then_some(warning)).collect())
}
