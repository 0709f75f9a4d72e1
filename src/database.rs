//! A pool of connections to a `PostgreSQL` server, as the ledger and the guard need one.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::FromSql;
use tokio_postgres::{Config, Error, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Most connections of one pool. A question holds one for some milliseconds.
const CONNECTIONS: usize = 16;
/// Longest wait for a new connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A pool; clones share it.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
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
pub(crate) enum Fault {
    Database(Error),
    Pool(PoolError),
    /// A row that makes no sense.
    Row(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::Database(error),
            other => Self::Pool(other),
        }
    }
}

impl Database {
    /// A pool that has not connected yet. `options` are the server's, as on its command line; `limit` is the longest
    /// wait for a free connection, and how long the other side may say nothing.
    ///
    /// # Errors
    /// A sentence that repeats nothing of the URL, since that holds a password.
    pub(crate) fn new(url: &str, options: &str, limit: Duration) -> Result<Self, String> {
        let rule = "it is no PostgreSQL URL: postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        let mut config: Config = url.parse().map_err(|_| rule.to_owned())?;
        if config.get_hosts().is_empty() || config.get_user().is_none() {
            return Err(rule.to_owned());
        }
        let options = [config.get_options().unwrap_or_default(), options].join(" ");
        config.options(options.trim()).connect_timeout(CONNECT_LIMIT).application_name("asset-eraser");
        config.tcp_user_timeout(limit);
        let place = place(&config).into();
        // Costs a round trip, and notices a connection that the server has closed before a request depends on it.
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let limits = Timeouts { wait: Some(limit), create: Some(CONNECT_LIMIT), recycle: Some(CONNECT_LIMIT) };
        let pool = Pool::builder(Manager::from_config(config, tls()?, manager))
            .max_size(CONNECTIONS)
            .timeouts(limits)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { pool, place })
    }

    /// A connection that works.
    pub(crate) async fn get(&self) -> Result<Object, Fault> {
        Ok(self.pool.get().await?)
    }

    /// Where it is, without who we are.
    pub(crate) fn place(&self) -> String {
        self.place.to_string()
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

impl Fault {
    /// Whether this is about what one row holds or should hold, and no trouble of everybody.
    pub(crate) fn is_about_values(&self) -> bool {
        match self {
            Self::Row(_) => true,
            Self::Pool(_) => false,
            // Classes of PostgreSQL's appendix A: data exception, integrity violation, program limit exceeded.
            Self::Database(error) => error.code().is_some_and(|code| ["22", "23", "54"].contains(&&code.code()[..2])),
        }
    }

    /// What is wrong, and what to do about it.
    pub(crate) fn told(&self) -> (String, &'static str) {
        match self {
            Self::Database(error) => (said(error), advice(error)),
            Self::Pool(error) => (error.to_string(), "check that the database is up and takes connections"),
            Self::Row(what) => (what.clone(), "correct it by hand"),
        }
    }
}

/// One column of a row.
pub(crate) fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, Fault> {
    row.try_get(name).map_err(|error| Fault::Row(said(&error)))
}

/// Certificates are checked against the system's CAs (or those of `SSL_CERT_FILE`) whenever TLS is used.
fn tls() -> Result<MakeRustlsConnect, String> {
    crate::crypto::install();
    let (tls, _unreadable) = MakeRustlsConnect::with_native_certs()
        .map_err(|errors| format!("the system has no CA certificates to check a server's with: {errors:?}"))?;
    Ok(tls)
}

fn place(config: &Config) -> String {
    let hosts = config.get_hosts().iter().enumerate().map(|(number, host)| {
        let port = config.get_ports().get(number).or(config.get_ports().first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => path.display().to_string(),
        }
    });
    format!("postgres://{}/{}", hosts.collect::<Vec<_>>().join(","), config.get_dbname().unwrap_or_default())
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
    let Some(code) = error.code() else { return "check that the database is up and can be reached" };
    match &code.code()[..2] {
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
