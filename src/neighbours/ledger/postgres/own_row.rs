//! The row that the ledger has of itself, and the counts of its commits.

use deadpool_postgres::Transaction;
use uuid::Uuid;

use crate::neighbours::ledger::progress::{Acceptance, CommitPosition, Shown};
use crate::platform::postgres::{PooledConnection, PostgresFault, column};

/// Counts a commit in the slot of this connection: no other connection counts there at the same time, but for a few that
/// share it by chance.
const COUNT: &str = "INSERT INTO asset_eraser.progress AS p (timeline, slot, commits)
    VALUES (('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint,
            (pg_backend_pid() % 256)::smallint, 1)
    ON CONFLICT (timeline, slot) DO UPDATE SET commits = p.commits + 1 RETURNING timeline, slot, commits";

/// What the ledger shows of itself.
pub(super) async fn shown(client: &PooledConnection) -> Result<Shown, PostgresFault> {
    let own = client.prepare_cached("SELECT id::text AS id, accepted, set_back FROM asset_eraser.ledger").await?;
    let counts = client.prepare_cached("SELECT timeline, slot, commits FROM asset_eraser.progress").await?;
    let (own, counts) = tokio::try_join!(client.query_one(&own, &[]), client.query(&counts, &[]))?;
    let commits = counts.iter().map(|row| Ok((place(row)?, column(row, "commits")?)));
    let id: String = column(&own, "id")?;
    Ok(Shown {
        id: Uuid::parse_str(&id).map_err(|error| PostgresFault::Row(format!("id: {error}")))?,
        accepted: column(&own, "accepted")?,
        found: column(&own, "set_back")?,
        commits: commits.collect::<Result<_, PostgresFault>>()?,
    })
}

/// Puts on record that the ledger was set back, for every process, unless that is accepted already.
pub(super) async fn found(client: &PooledConnection, why: &str, accepted: i64) -> Result<(), PostgresFault> {
    let sql = "UPDATE asset_eraser.ledger SET set_back = $1 WHERE set_back IS NULL AND accepted = $2";
    client.execute(&client.prepare_cached(sql).await?, &[&why, &accepted]).await?;
    Ok(())
}

/// Counts a commit, as the last lock that its transaction takes; says where, and how many there are.
pub(super) async fn count(transaction: &Transaction<'_>) -> Result<(CommitPosition, i64), PostgresFault> {
    let counted = transaction.query_one(&transaction.prepare_cached(COUNT).await?, &[]).await?;
    Ok((place(&counted)?, column(&counted, "commits")?))
}

/// An operator lets workers go on with it.
pub(super) async fn accept(client: &PooledConnection) -> Result<Option<Acceptance>, PostgresFault> {
    // Higher than any before, also than one that the older copy does not know of.
    let sql = "UPDATE asset_eraser.ledger AS l SET set_back = NULL,
                   accepted = greatest(l.accepted + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
               FROM asset_eraser.ledger AS before WHERE l.set_back IS NOT NULL
               RETURNING before.set_back AS why, l.accepted AS number";
    let accepted = client.query_opt(sql, &[]).await?;
    accepted.map(|row| Ok(Acceptance { why: column(&row, "why")?, number: column(&row, "number")? })).transpose()
}

fn place(row: &tokio_postgres::Row) -> Result<CommitPosition, PostgresFault> {
    Ok((column(row, "timeline")?, column(row, "slot")?))
}
