//! The brake's counts, strict among any number of workers.
//!
//! A worker that counts holds an advisory lock from before the sum is read until the commit. Far from the limit it is shared,
//! so that commits do not wait for each other. Within [`NEAR`] of the limit it is held by one alone, who then sees all
//! that was counted before. Those who hold it shared have each read a sum that is far away, and until all of them have
//! committed no worker gets it alone: together they count fewer than [`NEAR`].

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use crate::contract::message::id::RequestId;
use crate::neighbours::ledger::brake::{BrakeLimit, Braking, Release};
use crate::platform::postgres::{PostgresFault, column};

/// So far below the limit the counting gets strict: more than all transactions that a server can have open at once. (A
/// test has four workers with sixteen connections each.)
const NEAR: u64 = if cfg!(test) { 100 } else { 1_000 };

/// The advisory lock of a worker that counts or releases: "aelb" in ASCII.
const LOCK: i64 = 0x6165_6c62;

/// Rows in which the deletions of one bucket are counted: so many replicas' commits can go on at once. A power of two.
const SHARDS: u8 = 16;

const SUM: &str = "SELECT coalesce(sum(deletions), 0)::bigint AS deletions FROM asset_eraser.brake_counts
    WHERE until_ms > $1";

/// How many deletions have begun within the window, under a lock that others may share; `None` when that is too near to
/// the limit for it. A shared lock cannot be had alone by the same transaction (two that tried would wait for each other),
/// so begin another one then. The last lock that a transaction takes but for the rows it counts in.
pub(super) async fn deletions_from_afar(
    transaction: &Transaction<'_>,
    limit: &BrakeLimit,
) -> Result<Option<u64>, PostgresFault> {
    let deletions = lock_and_sum(transaction, "SELECT pg_advisory_xact_lock_shared($1)", limit).await?;
    Ok((deletions.saturating_add(NEAR) < limit.most).then_some(deletions))
}

/// How many deletions have begun within the window, under a lock that no other worker shares. For a transaction that has not
/// asked from afar.
pub(super) async fn deletions(transaction: &Transaction<'_>, limit: &BrakeLimit) -> Result<u64, PostgresFault> {
    lock_and_sum(transaction, "SELECT pg_advisory_xact_lock($1)", limit).await
}

async fn lock_and_sum(transaction: &Transaction<'_>, lock: &str, limit: &BrakeLimit) -> Result<u64, PostgresFault> {
    let (lock, sum) = (transaction.prepare_cached(lock).await?, transaction.prepare_cached(SUM).await?);
    let (number, past): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&LOCK], [&limit.past]);
    // Sent together, executed in this order: the sum has all that the last holder of the lock has committed.
    let (locked, found) = tokio::join!(transaction.execute(&lock, &number), transaction.query_one(&sum, &past));
    locked?;
    Ok(whole(column(&found?, "deletions")?))
}

/// Counts the deletion of this request.
pub(super) async fn count(transaction: &Transaction<'_>, id: &RequestId, limit: &BrakeLimit) -> Result<(), Error> {
    let insert = "INSERT INTO asset_eraser.brake_counts AS c (until_ms, shard, deletions) VALUES ($1, $2, 1)
                  ON CONFLICT (until_ms, shard) DO UPDATE SET deletions = c.deletions + 1 RETURNING deletions";
    let insert = transaction.prepare_cached(insert).await?;
    let shard = id.as_str().bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % SHARDS;
    let counted = transaction.query_one(&insert, &[&limit.bucket, &i16::from(shard)]).await?;
    if counted.get::<_, i64>(0) > 1 {
        return Ok(());
    }
    // The worker that begins a row of a bucket removes those that count no more, so that the table is never longer than a
    // window; but for rows that another worker is removing.
    let remove = "DELETE FROM asset_eraser.brake_counts WHERE (until_ms, shard) IN (
                      SELECT until_ms, shard FROM asset_eraser.brake_counts WHERE until_ms <= $1
                      FOR UPDATE SKIP LOCKED)";
    transaction.execute(&transaction.prepare_cached(remove).await?, &[&limit.past]).await?;
    Ok(())
}

pub(super) async fn braking(client: &Transaction<'_>, limit: &BrakeLimit) -> Result<Braking, PostgresFault> {
    let sum = client.query_one(&client.prepare_cached(SUM).await?, &[&limit.past]).await?;
    let last = "SELECT at_ms, deletions FROM asset_eraser.brake_releases ORDER BY at_ms DESC LIMIT 1";
    let last = client.query_opt(&client.prepare_cached(last).await?, &[]).await?;
    let last_release = last.map(|row| -> Result<_, PostgresFault> {
        let at = Timestamp::from_millisecond(column(&row, "at_ms")?);
        let at = at.map_err(|error| PostgresFault::Row(format!("at_ms: {error}")))?;
        Ok(Release { at, deletions: whole(column(&row, "deletions")?) })
    });
    Ok(Braking { deletions: whole(column(&sum, "deletions")?), last_release: last_release.transpose()? })
}

/// How many deletions of the window count no more.
pub(super) async fn release(
    transaction: &Transaction<'_>,
    limit: &BrakeLimit,
    now: Timestamp,
) -> Result<u64, PostgresFault> {
    let released = deletions(transaction, limit).await?;
    let recorded = i64::try_from(released).unwrap_or(i64::MAX);
    let insert = "INSERT INTO asset_eraser.brake_releases (at_ms, deletions) VALUES ($1, $2)";
    transaction.execute(insert, &[&now.as_millisecond(), &recorded]).await?;
    transaction.execute("DELETE FROM asset_eraser.brake_counts", &[]).await?;
    Ok(released)
}

/// A count is never negative.
fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}
