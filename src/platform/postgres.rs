//! A pool of connections to a `PostgreSQL` server, as the ledger and the guard need one.
//!
//! - `url`: which parameters of libpq a URL may have.
//! - `role`: what a server has to be for each use, and the question that finds out.
//! - `session`: what is asked for in each session.
//! - `connector`: connections to the first host that is so, asked again at every checkout.

mod connector;
mod role;
mod session;
mod tls;
mod url;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Pool, Timeouts};
use futures_util::FutureExt;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::FromSql;
use tokio_postgres::{Config, Error, Row};

use connector::Connector;
pub(crate) use role::Role;
use session::SessionSettings;

/// Most connections of one pool. A question holds one for some milliseconds.
const CONNECTIONS: usize = 16;
/// Longest wait for a new connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Longer than the connector's own limits, whose errors say more.
const POOL_LIMIT: Duration = Duration::from_secs(15);

/// What to do about a server that does not answer.
const UNREACHABLE: &str = "check that the database is up and can be reached";

/// A connection of the pool, which gets it back at the end.
pub(crate) type PooledConnection = managed::Object<Connector>;

/// A pool; clones share it.
#[derive(Clone)]
pub struct Database {
    pool: Pool<Connector>,
    role: Role,
    /// Host, port and database, for errors.
    place: Arc<str>,
}

impl std::fmt::Debug for Database {
    /// The pool would show its settings, the password among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Why something was not done in a database.
#[derive(Debug)]
pub(crate) enum PostgresFault {
    Database(Error),
    Pool(String),
    /// A row that makes no sense.
    Row(String),
    /// The server cannot be reached, or it is not what its role needs.
    Server {
        what: String,
        advice: &'static str,
    },
}

impl From<Error> for PostgresFault {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<managed::PoolError<Self>> for PostgresFault {
    fn from(error: managed::PoolError<Self>) -> Self {
        match error {
            managed::PoolError::Backend(fault) => fault,
            other => Self::Pool(other.to_string()),
        }
    }
}

impl std::fmt::Display for PostgresFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.told().0)
    }
}

/// A connection inside of a read-only transaction, which ends when this is dropped.
pub(crate) struct ReadOnly(PooledConnection);

impl Deref for ReadOnly {
    type Target = PooledConnection;

    fn deref(&self) -> &PooledConnection {
        &self.0
    }
}

impl Drop for ReadOnly {
    /// Sends the statement and does not wait: the server executes it before what the next user of the connection sends.
    fn drop(&mut self) {
        let _ = self.0.batch_execute("ROLLBACK").now_or_never();
    }
}

impl Database {
    /// A pool that has not connected yet. Its connections lead to a server that is what `role` needs. `settings` are
    /// the server's, by name, and hold in each session; `limit` is the longest wait for a free connection, and how long
    /// the other side may say nothing.
    ///
    /// # Errors
    /// A sentence that repeats nothing of the URL but the name of a parameter, since that holds a password.
    pub(crate) fn new(url: &str, role: Role, settings: &[(&str, String)], limit: Duration) -> Result<Self, String> {
        let form = "it is no PostgreSQL URL: postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        let plain = url::plain(url)?;
        let mut config: Config = plain.url.parse().map_err(|_| form.to_owned())?;
        if config.get_hosts().is_empty() || config.get_user().is_none() {
            return Err(form.to_owned());
        }
        let settings = SessionSettings::of_options(config.get_options().unwrap_or_default())?.and(settings);
        config.connect_timeout(CONNECT_LIMIT).application_name("asset-eraser").tcp_user_timeout(limit);
        let place = place(&config).into();
        let limits = Timeouts { wait: Some(limit), create: Some(POOL_LIMIT), recycle: Some(POOL_LIMIT) };
        let tls = tls::connector(plain.authorities.as_deref())?;
        let pool = Pool::builder(Connector::new(&config, tls, role, &settings, limit))
            .max_size(CONNECTIONS)
            .timeouts(limits)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { pool, role, place })
    }

    /// A connection whose server has just said that it is what the role needs. One round trip, or a new connection.
    pub(crate) async fn get(&self) -> Result<PooledConnection, PostgresFault> {
        debug_assert_eq!(self.role, Role::Ledger, "a job table is read in a transaction");
        Ok(self.pool.get().await?)
    }

    /// The same for a job table: inside of a read-only transaction, which the same round trip has begun.
    pub(crate) async fn read_only(&self) -> Result<ReadOnly, PostgresFault> {
        debug_assert_ne!(self.role, Role::Ledger, "the ledger's question begins no transaction");
        Ok(ReadOnly(self.pool.get().await?))
    }

    /// Gives a connection back, or takes it out of the pool if its server has refused a write since it was asked.
    pub(crate) fn give_back(connection: PooledConnection, fault: Option<&PostgresFault>) {
        if fault.is_some_and(PostgresFault::is_about_transactions) {
            drop(PooledConnection::take(connection));
        }
    }

    /// Closes a connection, and with it ends what belongs to it.
    pub(crate) fn close_one(connection: PooledConnection) {
        drop(PooledConnection::take(connection));
    }

    /// Where it is, without who we are.
    pub(crate) fn place(&self) -> String {
        self.place.to_string()
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

impl PostgresFault {
    /// Whether this is about what one row holds or should hold, and no trouble of all requests.
    pub(crate) fn is_about_values(&self) -> bool {
        match self {
            Self::Row(_) => true,
            Self::Pool(_) | Self::Server { .. } => false,
            // Classes of PostgreSQL's appendix A: data exception, integrity violation, program limit exceeded.
            Self::Database(error) => error.code().is_some_and(|code| ["22", "23", "54"].contains(&&code.code()[..2])),
        }
    }

    /// Whether the state of the transaction or of the server forbids a statement, such as a write on a standby
    /// (class 25 of the same appendix).
    pub(crate) fn is_about_transactions(&self) -> bool {
        matches!(self, Self::Database(error) if error.code().is_some_and(|code| code.code().starts_with("25")))
    }

    /// One fault of several places; the advice is that of a server that spoke, if one did.
    fn of_many(mut faults: Vec<(String, Self)>) -> Self {
        if faults.len() == 1 {
            return faults.remove(0).1;
        }
        let told: Vec<_> = faults.iter().map(|(place, fault)| (place, fault.told())).collect();
        let all: Vec<String> = told.iter().map(|(place, (what, _))| format!("{place}: {what}")).collect();
        let advice = told.iter().map(|(_, (_, advice))| *advice).find(|advice| *advice != UNREACHABLE);
        Self::Server { what: all.join("; "), advice: advice.unwrap_or(UNREACHABLE) }
    }

    /// What is wrong, and what to do about it.
    pub(crate) fn told(&self) -> (String, &'static str) {
        match self {
            Self::Database(error) => (said(error), advice(error)),
            Self::Pool(error) => (error.clone(), "check that the database is up and takes connections"),
            Self::Row(what) => (what.clone(), "correct it by hand"),
            Self::Server { what, advice } => (what.clone(), advice),
        }
    }
}

/// One column of a row.
pub(crate) fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, PostgresFault> {
    row.try_get(name).map_err(|error| PostgresFault::Row(said(&error)))
}

fn place(config: &Config) -> String {
    format!("postgres://{}/{}", connector::hosts(config), config.get_dbname().unwrap_or_default())
}

/// The server's own words if it spoke, else the whole chain.
fn said(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What to do about an error of `PostgreSQL`'s (the classes of its appendix A).
fn advice(error: &Error) -> &'static str {
    let Some(code) = error.code() else { return tls::advice(error).unwrap_or(UNREACHABLE) };
    match &code.code()[..2] {
        // From a pooler, too, that does not reach the server behind it.
        "08" => UNREACHABLE,
        "28" => "check user and password in the URL, and the server's pg_hba.conf",
        "3D" => "create the database, or name another one in the URL",
        "53" if *code == SqlState::TOO_MANY_CONNECTIONS => "raise the server's max_connections",
        "53" => "make room on the server",
        "25" => "point the URL at the primary server, which can be written",
        "42" => "check what this user may do there, and that what is named exists",
        "57" => "the server is stopping or was told to end this",
        _ => "check the server's log",
    }
}

#[cfg(test)]
mod tests;
