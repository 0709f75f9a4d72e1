//! Cases: how many requests they have, how many are decided, and the event that says they all are.

use deadpool_postgres::Transaction;
use tokio_postgres::Error;

use crate::database::{Fault, Object, column};
use crate::ledger::Case;
use crate::message::id::RequestId;

/// Rows in which the decisions of one case are counted: so many replicas' commits can go on at once. A power of two.
const SHARDS: u8 = 16;

/// Counts a request that is decided in this transaction. The last lock that the transaction takes, so that nobody who
/// holds it waits for anybody else.
pub(super) async fn count(
    transaction: &Transaction<'_>,
    id: &RequestId,
    case: &str,
    outcome: &str,
) -> Result<(), Error> {
    let statement = transaction
        .prepare_cached(
            "INSERT INTO asset_eraser.case_counts AS c (case_id, outcome, shard, requests) VALUES ($1, $2, $3, 1)
             ON CONFLICT (case_id, outcome, shard) DO UPDATE SET requests = c.requests + 1",
        )
        .await?;
    let shard = id.as_str().bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % SHARDS;
    transaction.execute(&statement, &[&case, &outcome, &i16::from(shard)]).await?;
    Ok(())
}

/// The size on record, this one if there was none.
pub(super) async fn size(client: &Object, case: &str, size: u32) -> Result<u32, Fault> {
    let select = client.prepare_cached("SELECT size FROM asset_eraser.cases WHERE case_id = $1").await?;
    if let Some(found) = client.query_opt(&select, &[&case]).await? {
        return whole(&found, "size");
    }
    let insert = client
        .prepare_cached("INSERT INTO asset_eraser.cases (case_id, size) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .await?;
    client.execute(&insert, &[&case, &i64::from(size)]).await?;
    whole(&client.query_one(&select, &[&case]).await?, "size")
}

pub(super) async fn load(client: &Transaction<'_>, case: &str) -> Result<Option<Case>, Fault> {
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
        decided: decided.collect::<Result<_, Fault>>()?,
        event: column(&found, "event")?,
    }))
}

/// The event on record, this one if there was none; `None` for a case without a size.
pub(super) async fn complete(client: &Object, case: &str, event: &str) -> Result<Option<String>, Fault> {
    let update = "UPDATE asset_eraser.cases SET event = $2 WHERE case_id = $1 AND event IS NULL";
    client.execute(&client.prepare_cached(update).await?, &[&case, &event]).await?;
    let select = client.prepare_cached("SELECT event FROM asset_eraser.cases WHERE case_id = $1").await?;
    client.query_opt(&select, &[&case]).await?.map_or(Ok(None), |found| column(&found, "event"))
}

/// Cases with an outcome that was counted another number of times than it stands there, and how many more stand there.
pub(super) async fn miscounted(client: &Transaction<'_>) -> Result<Vec<(String, String, i64)>, Fault> {
    let sql = "SELECT case_id, outcome, sum(n)::bigint AS more FROM (
                   SELECT case_id, outcome, count(*) AS n FROM asset_eraser.requests
                   WHERE state = 'decided' AND case_id IS NOT NULL GROUP BY case_id, outcome
                   UNION ALL SELECT case_id, outcome, -requests FROM asset_eraser.case_counts) AS counted
               GROUP BY case_id, outcome HAVING sum(n) <> 0 ORDER BY case_id, outcome";
    let found = client.query(sql, &[]).await?;
    found.iter().map(|row| Ok((column(row, "case_id")?, column(row, "outcome")?, column(row, "more")?))).collect()
}

fn whole<T: TryFrom<i64>>(row: &tokio_postgres::Row, name: &str) -> Result<T, Fault> {
    T::try_from(column::<i64>(row, name)?).map_err(|_| Fault::Row(format!("{name} is out of range")))
}
