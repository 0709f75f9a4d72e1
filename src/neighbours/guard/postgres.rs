//! Jobs in a table of another system's `PostgreSQL`: which use an asset, and how far they are.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::timeout;
use tokio_postgres::types::Type;

use super::{GuardError, Job};
use crate::contract::message::id::AssetId;
use crate::platform::postgres::{Database, PostgresFault, Role, column};
use crate::settings;

/// More jobs than this are not read; the asset then counts as in use, since a part of an answer must not set it free.
const MOST_JOBS: usize = 10_000;

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    database: Database,
    query: Arc<str>,
    limit: Duration,
}

impl Table {
    pub(super) fn new(settings: &settings::PostgresGuard) -> Result<Self, GuardError> {
        let limits = [("statement_timeout", format!("{}ms", settings.timeout.as_millis()))];
        let (url, limit) = (settings.url.expose_secret(), settings.timeout);
        let role = if settings.allow_standby { Role::JobTableOrStandby } else { Role::JobTable };
        let database = Database::new(url, role, &limits, limit).map_err(GuardError::Postgres)?;
        // As text, whatever the columns are; one more than may be, to see that there are more.
        let jobs = format!("SELECT id::text, status::text FROM ({}\n) AS jobs LIMIT {}", settings.query, MOST_JOBS + 1);
        Ok(Self { database, query: jobs.into(), limit })
    }

    /// The jobs that use `asset`, finished ones included, or why that is not known.
    pub(super) async fn jobs(&self, asset: &AssetId) -> Result<Vec<Job>, String> {
        match timeout(self.limit, self.ask(asset)).await {
            Ok(Ok(jobs)) if jobs.len() > MOST_JOBS => Err(format!("more than {MOST_JOBS} jobs use the asset")),
            Ok(Ok(jobs)) => Ok(jobs),
            Ok(Err(fault)) => {
                let (what, advice) = fault.told();
                let writes = fault.is_about_transactions();
                let advice = if writes { "guard.postgres.query must only read" } else { advice };
                Err(format!("{}: {what}; {advice}", self.database.place()))
            }
            Err(_) => Err(format!("{}: no answer within {:?}", self.database.place(), self.limit)),
        }
    }

    /// A guard reads and never writes, whatever its query says: the transaction is read-only.
    async fn ask(&self, asset: &AssetId) -> Result<Vec<Job>, PostgresFault> {
        let client = self.database.read_only().await?;
        let rows = client.query_typed(&self.query, &[(&asset.as_str(), Type::TEXT)]).await?;
        // A NULL is no answer.
        rows.iter().map(|row| Ok(Job { id: column(row, "id")?, status: column(row, "status")? })).collect()
    }
}
