//! Cases: how many requests they have, how many are decided, and the event that says they all are.

use deadpool_postgres::Transaction;
use tokio_postgres::Error;

use crate::neighbours::ledger::{Case, OutcomeCounts};
use crate::platform::postgres::{PostgresFault, column};

/// Rows in which the decisions of one case are counted: so many replicas' commits can go on at once. A power of two.
const SHARDS: u8 = 16;

/// Counts a request that is decided in this transaction, in the shard that its name falls into. But for the count of the
/// commit, it is the last lock that the transaction takes, so that none that holds it waits for another.
pub(super) async fn count(transaction: &Transaction<'_>, name: &str, case: &str, outcome: &str) -> Result<(), Error> {
    let statement = transaction
        .prepare_cached(
            "INSERT INTO asset_eraser.case_counts AS c (case_id, outcome, shard, requests) VALUES ($1, $2, $3, 1)
             ON CONFLICT (case_id, outcome, shard) DO UPDATE SET requests = c.requests + 1",
        )
        .await?;
    let shard = name.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % SHARDS;
    transaction.execute(&statement, &[&case, &outcome, &i16::from(shard)]).await?;
    Ok(())
}

/// The size on record, this one if there was none; and how many rows were written for it.
pub(super) async fn size(client: &Transaction<'_>, case: &str, size: u32) -> Result<(u32, usize), PostgresFault> {
    let select = client.prepare_cached("SELECT size FROM asset_eraser.cases WHERE case_id = $1").await?;
    if let Some(found) = client.query_opt(&select, &[&case]).await? {
        return Ok((whole(&found, "size")?, 0));
    }
    let insert = client
        .prepare_cached("INSERT INTO asset_eraser.cases (case_id, size) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .await?;
    client.execute(&insert, &[&case, &i64::from(size)]).await?;
    Ok((whole(&client.query_one(&select, &[&case]).await?, "size")?, 1))
}

/// Counts a message that has no row of its own, once; says how many rows were written.
pub(super) async fn count_conflict(
    client: &Transaction<'_>,
    case: &str,
    message: &str,
) -> Result<((), usize), PostgresFault> {
    let insert = "INSERT INTO asset_eraser.case_conflicts (case_id, message) VALUES ($1, $2::text::uuid)
                  ON CONFLICT DO NOTHING";
    let new = client.execute(&client.prepare_cached(insert).await?, &[&case, &message]).await?;
    if new > 0 {
        count(client, message, case, "rejected").await?;
    }
    Ok(((), usize::try_from(new).unwrap_or_default()))
}

pub(super) async fn load(client: &Transaction<'_>, case: &str) -> Result<Option<Case>, PostgresFault> {
    let select = client.prepare_cached("SELECT size, event FROM asset_eraser.cases WHERE case_id = $1").await?;
    let Some(found) = client.query_opt(&select, &[&case]).await? else { return Ok(None) };
    let counts = client
        .prepare_cached(
            "SELECT outcome, sum(requests)::bigint AS requests FROM asset_eraser.case_counts
             WHERE case_id = $1 GROUP BY outcome",
        )
        .await?;
    let decided = client.query(&counts, &[&case]).await?;
    let decided = decided.iter().map(|row| Ok((column(row, "outcome")?, whole(row, "requests")?)));
    Ok(Some(Case {
        size: whole(&found, "size")?,
        decided: decided.collect::<Result<_, PostgresFault>>()?,
        event: column(&found, "event")?,
    }))
}

/// The event on record, else the one that `event` makes of the outcomes decided first, as many as the case has (`None`
/// for a case without a size); and how many rows were written.
pub(super) async fn complete(
    client: &Transaction<'_>,
    case: &str,
    event: impl FnOnce(&OutcomeCounts) -> String,
) -> Result<(Option<String>, usize), PostgresFault> {
    // Locked, so that of two replicas one makes the event and the other finds it.
    let select = "SELECT size, event FROM asset_eraser.cases WHERE case_id = $1 FOR UPDATE";
    let found = client.query_opt(&client.prepare_cached(select).await?, &[&case]).await?;
    let Some(found) = found else { return Ok((None, 0)) };
    if let Some(event) = column(&found, "event")? {
        return Ok((Some(event), 0));
    }
    let event = event(&first_decided(client, case, whole(&found, "size")?).await?);
    let update = "UPDATE asset_eraser.cases SET event = $2 WHERE case_id = $1";
    client.execute(&client.prepare_cached(update).await?, &[&case, &event]).await?;
    Ok((Some(event), 1))
}

/// The outcomes of the first `most` decisions of a case.
async fn first_decided(client: &Transaction<'_>, case: &str, most: u32) -> Result<OutcomeCounts, PostgresFault> {
    let sql = "SELECT outcome, count(*) AS requests FROM (
                   SELECT outcome, updated AS at, request_id AS name FROM asset_eraser.requests
                   WHERE case_id = $1 AND state = 'decided'
                   UNION ALL SELECT 'rejected', at, message::text FROM asset_eraser.case_conflicts WHERE case_id = $1
                   ORDER BY at, name LIMIT $2) AS first
               GROUP BY outcome";
    let found = client.query(&client.prepare_cached(sql).await?, &[&case, &i64::from(most)]).await?;
    found.iter().map(|row| Ok((column(row, "outcome")?, whole(row, "requests")?))).collect()
}

/// Cases with an outcome that was counted another number of times than it stands there, and how many more stand there.
pub(super) async fn miscounted(client: &Transaction<'_>) -> Result<Vec<(String, String, i64)>, PostgresFault> {
    let sql = "SELECT case_id, outcome, sum(n)::bigint AS more FROM (
                   SELECT case_id, outcome, count(*) AS n FROM asset_eraser.requests
                   WHERE state = 'decided' AND case_id IS NOT NULL GROUP BY case_id, outcome
                   UNION ALL SELECT case_id, 'rejected', 1 FROM asset_eraser.case_conflicts
                   UNION ALL SELECT case_id, outcome, -requests FROM asset_eraser.case_counts) AS counted
               GROUP BY case_id, outcome HAVING sum(n) <> 0 ORDER BY case_id, outcome";
    let found = client.query(sql, &[]).await?;
    found.iter().map(|row| Ok((column(row, "case_id")?, column(row, "outcome")?, column(row, "more")?))).collect()
}

fn whole<T: TryFrom<i64>>(row: &tokio_postgres::Row, name: &str) -> Result<T, PostgresFault> {
    T::try_from(column::<i64>(row, name)?).map_err(|_| PostgresFault::Row(format!("{name} is out of range")))
}
