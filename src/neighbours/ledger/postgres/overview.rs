//! The overview out of the database.

use deadpool_postgres::Transaction;

use super::rows::{self, milliseconds, named, time};
use crate::neighbours::ledger::overview::{Asking, OPEN, StoreOverview};
use crate::platform::postgres::{PostgresFault, column};

pub(super) async fn overview(client: &Transaction<'_>, asking: &Asking) -> Result<StoreOverview, PostgresFault> {
    let mut found = StoreOverview::default();
    let oldest = format!(
        "SELECT request_id, {} FROM asset_eraser.requests AS r WHERE state <> 'decided' AND state = $1
         ORDER BY r.first_seen LIMIT $2",
        rows::COLUMNS
    );
    let oldest = client.prepare_cached(&oldest).await?;
    let count = "SELECT count(*) FROM asset_eraser.requests WHERE state <> 'decided' AND state = $1";
    let count = client.prepare_cached(count).await?;
    for state in OPEN {
        let requests: i64 = client.query_one(&count, &[&state.as_str()]).await?.get(0);
        found.counts.push((state, whole(requests)?));
        for columns in client.query(&oldest, &[&state.as_str(), &i64::from(asking.most)]).await? {
            found.oldest.push(named(&columns)?);
        }
    }
    let decided = "SELECT (extract(epoch FROM date_trunc('minute', updated)) * 1000)::bigint AS minute, outcome,
                       count(*) AS requests FROM (
                       SELECT updated, outcome FROM asset_eraser.requests
                       WHERE state = 'decided' AND sealed IS NULL
                           AND updated >= timestamptz 'epoch' + $1 * interval '1 millisecond'
                       ORDER BY updated DESC LIMIT $2) AS latest
                   GROUP BY minute, outcome";
    let decided = client.prepare_cached(decided).await?;
    for columns in client.query(&decided, &[&milliseconds(asking.since), &i64::from(asking.most_decided)]).await? {
        let requests = whole(column::<i64>(&columns, "requests")?)?;
        found.decided.push((time(&columns, "minute")?, column(&columns, "outcome")?, requests));
    }
    Ok(found)
}

fn whole(count: i64) -> Result<u64, PostgresFault> {
    u64::try_from(count).map_err(|_| PostgresFault::Row("a count is negative".to_owned()))
}
