//! Connections: made to the first host that is what its role needs, and asked again at every checkout.
//!
//! **Invariant:** a connection leaves the pool only after its server has said, in this checkout, that it is what the
//! role needs. What a server says otherwise ends the connection, and the next one is made from the names of the hosts.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::role::{BackendSession, Role, ServerFacts};
use super::session::{Lasting, SessionSettings};
use super::{CONNECT_LIMIT, PostgresFault, UNREACHABLE};

/// How often two connections are asked in turn for their sessions, to find out whether they keep them.
const TURNS: usize = 3;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    client: ClientWrapper,
    generation: u64,
    /// The session that it had at first.
    session: BackendSession,
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.client
    }
}

/// Makes connections for a pool, and asks each at its checkout.
pub(crate) struct Connector {
    /// The settings of the URL without its hosts.
    base: Config,
    hosts: Vec<DatabaseHost>,
    tls: MakeRustlsConnect,
    role: Role,
    /// What a new connection is told and asked.
    opening: String,
    /// What a connection is asked at each checkout.
    question: String,
    /// Where connections were seen to keep their sessions, since the last time that one was lost.
    keeps_sessions: Mutex<Option<String>>,
    /// Longest time for one question of the owner.
    limit: Duration,
    /// The host that a connection was last made to. The next one is tried there first, so that a dead host costs its
    /// share of the time once.
    last: AtomicUsize,
    /// Raised when a server turned out to be another than it was: every connection made before is dropped unasked.
    generation: AtomicU64,
}

/// One host of the URL.
struct DatabaseHost {
    host: Host,
    address: Option<std::net::IpAddr>,
    port: u16,
}

impl DatabaseHost {
    fn all(config: &Config) -> Vec<Self> {
        let place = |(number, host): (usize, &Host)| Self {
            host: host.clone(),
            address: config.get_hostaddrs().get(number).copied(),
            port: config.get_ports().get(number).or(config.get_ports().first()).copied().unwrap_or(5432),
        };
        config.get_hosts().iter().enumerate().map(place).collect()
    }

    /// One set of settings for each address behind the name, as it resolves now.
    async fn resolved(&self, base: &Config) -> Result<Vec<(String, Config)>, PostgresFault> {
        let mut config = base.clone();
        config.port(self.port);
        let name = match &self.host {
            Host::Unix(path) => return Ok(vec![(self.to_string(), config.host_path(path).clone())]),
            Host::Tcp(name) => name,
        };
        config.host(name);
        let addresses = match self.address {
            Some(address) => vec![address],
            None => lookup_host((name.as_str(), self.port))
                .await
                .map_err(|error| unresolved(&error))?
                .map(|found| found.ip())
                .collect(),
        };
        let at = |address| (format!("{self} [{address}]"), config.clone().hostaddr(address).clone());
        Ok(addresses.into_iter().map(at).collect())
    }
}

fn unresolved(error: &std::io::Error) -> PostgresFault {
    let what = format!("the host name cannot be resolved: {error}");
    PostgresFault::Server { what, advice: UNREACHABLE }
}

impl std::fmt::Display for DatabaseHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Host::Tcp(name) => write!(f, "{name}:{}", self.port),
            Host::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Every host of the URL, for errors.
pub(super) fn hosts(config: &Config) -> String {
    DatabaseHost::all(config).iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl Connector {
    pub(super) fn new(
        config: &Config,
        tls: MakeRustlsConnect,
        role: Role,
        settings: &SessionSettings,
        limit: Duration,
    ) -> Self {
        let (base, hosts) = (without_hosts_and_options(config), DatabaseHost::all(config));
        // A session keeps what it was told; a session that may be another one in the next transaction is told each time.
        let (opening, question) = if role.keeps_session() {
            (settings.statement(Lasting::Session) + role.question(), role.question().to_owned())
        } else {
            let told = role.beginning().to_owned() + &settings.statement(Lasting::Transaction) + role.question();
            (told.clone(), told)
        };
        let (last, generation, keeps_sessions) = Default::default();
        Self { base, hosts, tls, role, opening, question, keeps_sessions, limit, last, generation }
    }

    /// Connections made until now are not used again.
    fn renew(&self) {
        self.generation.fetch_add(1, Relaxed);
        *self.keeping() = None;
    }

    fn keeping(&self) -> MutexGuard<'_, Option<String>> {
        self.keeps_sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part of the time that one host may take, so that a host that says nothing leaves time for the others.
    fn share(&self) -> Duration {
        match u32::try_from(self.hosts.len()) {
            Ok(1) | Err(_) => CONNECT_LIMIT,
            Ok(hosts) => CONNECT_LIMIT.min(self.limit / 2) / hosts,
        }
    }

    /// Tries every address of one host.
    async fn connect(&self, place: &DatabaseHost, share: Duration) -> Result<Connection, PostgresFault> {
        let found = timeout(share, place.resolved(&self.base)).await.map_err(|_| silent(share))??;
        let each = share / u32::try_from(found.len()).unwrap_or(1).max(1);
        let mut faults = Vec::new();
        for (address, config) in found {
            match timeout(each, self.open(&address, &config)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(fault)) => faults.push((address, fault)),
                Err(_) => faults.push((address, silent(each))),
            }
        }
        Err(PostgresFault::of_many(faults))
    }

    /// A connection, which keeps its session if the role needs that.
    async fn open(&self, address: &str, config: &Config) -> Result<Connection, PostgresFault> {
        let connection = self.open_one(config).await?;
        if self.role.keeps_session() && self.keeping().as_deref() != Some(address) {
            self.see_sessions_kept(&connection, config).await?;
            *self.keeping() = Some(address.to_owned());
        }
        Ok(connection)
    }

    async fn open_one(&self, config: &Config) -> Result<Connection, PostgresFault> {
        let generation = self.generation.load(Relaxed);
        let (client, connection) = config.connect(self.tls.clone()).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database ended");
            }
        });
        let client = ClientWrapper::new(client, task);
        let session = self.ask(&client, &self.opening).await?;
        Ok(Connection { client, generation, session })
    }

    /// Two connections that are open at the same time have a session each, and keep it. Behind a pooler that lends sessions
    /// for a transaction, the second gets the one that the first has just given back, or the first gets another one.
    async fn see_sessions_kept(&self, one: &Connection, config: &Config) -> Result<(), PostgresFault> {
        let other = self.open_one(config).await?;
        for _ in 0..TURNS {
            self.ask_again(one).await?;
            self.ask_again(&other).await?;
        }
        if one.session == other.session { Err(lent()) } else { Ok(()) }
    }

    async fn ask_again(&self, connection: &Connection) -> Result<(), PostgresFault> {
        let session = self.ask(connection, &self.question).await?;
        if session == connection.session || !self.role.keeps_session() { Ok(()) } else { Err(lent()) }
    }

    async fn ask(&self, client: &Client, question: &str) -> Result<BackendSession, PostgresFault> {
        let server = ServerFacts::read(&client.simple_query(question).await?)?;
        self.role.judge(&server)?;
        Ok(server.session)
    }
}

fn lent() -> PostgresFault {
    let what =
        "the connection is given another session of the server from time to time, as a pooler does in transaction or \
                statement mode; the ledger's limits belong to a session"
            .to_owned();
    let advice = "set pool_mode = session for this database in PgBouncer, or point the URL at the server itself";
    PostgresFault::Server { what, advice }
}

impl Manager for Connector {
    type Type = Connection;
    type Error = PostgresFault;

    async fn create(&self) -> Result<Connection, PostgresFault> {
        let (first, share) = (self.last.load(Relaxed), self.share());
        let mut faults = Vec::new();
        for number in (0..self.hosts.len()).map(|number| (first + number) % self.hosts.len()) {
            let place = &self.hosts[number];
            // Boxed: connecting is rare, and its future would be a part of every future that uses the ledger.
            match Box::pin(self.connect(place, share)).await {
                Ok(connection) => {
                    self.last.store(number, Relaxed);
                    return Ok(connection);
                }
                Err(fault) => faults.push((place.to_string(), fault)),
            }
        }
        Err(PostgresFault::of_many(faults))
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<PostgresFault> {
        if connection.is_closed() {
            // By whatever comes back at this address.
            *self.keeping() = None;
        }
        if connection.is_closed() || connection.generation != self.generation.load(Relaxed) {
            return Err(RecycleError::message("closed, or its server has changed"));
        }
        let limit = CONNECT_LIMIT.min(self.limit / 3);
        let asked = timeout(limit, self.ask_again(connection)).await.unwrap_or_else(|_| Err(silent(limit)));
        if matches!(asked, Err(PostgresFault::Server { .. })) {
            self.renew();
        }
        asked.map_err(RecycleError::Backend)
    }
}

fn silent(limit: Duration) -> PostgresFault {
    let what = format!("no answer within {limit:?}");
    PostgresFault::Server { what, advice: UNREACHABLE }
}

/// `Config` has no way to take hosts out, so everything else is copied but for the options, which are asked for in the
/// session.
fn without_hosts_and_options(config: &Config) -> Config {
    let mut base = Config::new();
    config.get_user().map(|user| base.user(user));
    config.get_password().map(|password| base.password(password));
    config.get_dbname().map(|name| base.dbname(name));
    config.get_application_name().map(|name| base.application_name(name));
    config.get_connect_timeout().map(|limit| base.connect_timeout(*limit));
    config.get_tcp_user_timeout().map(|limit| base.tcp_user_timeout(*limit));
    config.get_keepalives_interval().map(|interval| base.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| base.keepalives_retries(retries));
    base.keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .target_session_attrs(config.get_target_session_attrs());
    base
}
