//! What a server has to be for each use of a database, and the question that finds out.
//!
//! The question is asked at every checkout, since a failover changes the answer under a connection that works: a
//! standby answers every read, and a fenced primary keeps its sessions.

use tokio_postgres::SimpleQueryMessage;

use super::PostgresFault;

/// What a pool is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The ledger: it is read and written, and a commit that was answered must never be lost.
    Ledger,
    /// A job table of others: it is read where it is written.
    JobTable,
    /// A job table that the operator allows to be read from a standby.
    JobTableOrStandby,
}

/// The question to a server that is written to.
const LEDGER: &str = "SELECT pg_catalog.pg_is_in_recovery(),
    pg_catalog.current_setting('transaction_read_only'), '', pg_catalog.current_setting('synchronous_commit'),
    pg_catalog.pg_backend_pid() || ' since ' || pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())";

/// The same to a server that is only read. The view `pg_settings` is read only where its answer matters, because it lists
/// every setting of the server.
const JOB_TABLE: &str = "SELECT pg_catalog.pg_is_in_recovery(),
    pg_catalog.current_setting('default_transaction_read_only'),
    CASE WHEN pg_catalog.current_setting('default_transaction_read_only') = 'on'
         THEN (SELECT source FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only') ELSE '' END,
    pg_catalog.current_setting('synchronous_commit'), ''";

/// What comes before it, in the same message: without a read-only transaction there is no answer, and so no query.
const READ_ONLY: &str = "START TRANSACTION READ ONLY;";

/// Where `default_transaction_read_only` may come from and concern this login alone (`GucSource_Names` in
/// PostgreSQL's `guc_tables.c`). Any other place, as `configuration file`, makes the whole server or database read-only.
const OWN_SOURCES: [&str; 4] = ["user", "database user", "client", "session"];

/// Which process of which start of a server serves a connection; empty where that does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BackendSession(String);

/// What a server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerFacts {
    in_recovery: bool,
    read_only: bool,
    /// Where the setting `default_transaction_read_only` comes from, if that was asked.
    source: String,
    synchronous_commit: String,
    pub(super) session: BackendSession,
}

impl ServerFacts {
    /// Reads the last row of the answer.
    pub(super) fn read(messages: &[SimpleQueryMessage]) -> Result<Self, PostgresFault> {
        let row = messages.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let text = |column| row.and_then(|row| row.get(column)).ok_or_else(unreadable);
        Ok(Self {
            in_recovery: flag(text(0)?, "t", "f")?,
            read_only: flag(text(1)?, "on", "off")?,
            source: text(2)?.to_owned(),
            synchronous_commit: text(3)?.to_owned(),
            session: BackendSession(text(4)?.to_owned()),
        })
    }
}

fn flag(text: &str, yes: &str, no: &str) -> Result<bool, PostgresFault> {
    if text == yes {
        return Ok(true);
    }
    if text == no { Ok(false) } else { Err(unreadable()) }
}

fn unreadable() -> PostgresFault {
    let what = "the server does not say whether it is a primary".to_owned();
    PostgresFault::Server { what, advice: "check that the URL leads to a PostgreSQL server" }
}

impl Role {
    /// Whether a connection has to keep its session from one transaction to the next: a ledger's, for its limits and
    /// its prepared statements. All of a job table's is in one transaction.
    pub(super) const fn keeps_session(self) -> bool {
        matches!(self, Self::Ledger)
    }

    /// What comes before everything else of a checkout: a job table's is a read-only transaction.
    pub(super) const fn beginning(self) -> &'static str {
        match self {
            Self::Ledger => "",
            Self::JobTable | Self::JobTableOrStandby => READ_ONLY,
        }
    }

    /// What is asked at every checkout.
    pub(super) const fn question(self) -> &'static str {
        match self {
            Self::Ledger => LEDGER,
            Self::JobTable | Self::JobTableOrStandby => JOB_TABLE,
        }
    }

    /// Whether a server that answers so can be used.
    pub(super) fn judge(self, server: &ServerFacts) -> Result<(), PostgresFault> {
        let refusal = match self {
            Self::Ledger => not_for_a_ledger(server),
            Self::JobTable => not_for_a_job_table(server, false),
            Self::JobTableOrStandby => not_for_a_job_table(server, true),
        };
        refusal.map_or(Ok(()), |(what, advice)| Err(PostgresFault::Server { what, advice }))
    }
}

fn not_for_a_ledger(server: &ServerFacts) -> Option<(String, &'static str)> {
    if server.in_recovery {
        let advice = "promote it if the primary is gone for good, or point the URL at the primary";
        return Some(("this server is a standby and not the primary".to_owned(), advice));
    }
    if server.read_only {
        let what =
            "default_transaction_read_only is on, as on a primary that was fenced off after a failover".to_owned();
        return Some((what, "point the URL at the new primary; if this server is the primary, set it to off"));
    }
    let value = server.synchronous_commit.as_str();
    (!["on", "remote_apply"].contains(&value)).then(|| {
        let what = format!(
            "synchronous_commit is {value} here, and a decision that a crash or a failover undoes would be taken again"
        );
        (what, "run ALTER ROLE … SET synchronous_commit = on for the user of the URL")
    })
}

fn not_for_a_job_table(server: &ServerFacts, allow_standby: bool) -> Option<(String, &'static str)> {
    if server.in_recovery {
        let advice = "point guard.postgres.url at the primary; guard.postgres.allow_standby = true accepts the risk";
        let what = "this server is a standby, which may not have the newest jobs yet".to_owned();
        return (!allow_standby).then_some((what, advice));
    }
    (server.read_only && !OWN_SOURCES.contains(&server.source.as_str())).then(|| {
        let source = &server.source;
        let what = format!("default_transaction_read_only is on (set by: {source}), as on a primary that was fenced off after a failover");
        (what, "point guard.postgres.url at the new primary; if this server is the primary, set it to off")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: (bool, bool, &str, &str) = (false, false, "", "on");

    fn told(role: Role, (in_recovery, read_only, source, commit): (bool, bool, &str, &str)) -> Option<String> {
        let (source, synchronous_commit) = (source.to_owned(), commit.to_owned());
        let session = BackendSession::default();
        let server = ServerFacts { in_recovery, read_only, source, synchronous_commit, session };
        role.judge(&server).err().map(|fault| fault.told().0)
    }

    #[test]
    fn a_ledger_is_on_a_primary_that_takes_writes_and_syncs_them() {
        for commit in ["on", "remote_apply"] {
            assert_eq!(told(Role::Ledger, (false, false, "", commit)), None);
        }
        for (server, word) in [
            ((true, true, "", "on"), "standby"),
            ((true, false, "", "on"), "standby"),
            ((false, true, "", "on"), "default_transaction_read_only"),
            ((false, false, "", "off"), "synchronous_commit is off"),
            ((false, false, "", "local"), "synchronous_commit is local"),
            ((false, false, "", "remote_write"), "synchronous_commit is remote_write"),
            ((false, false, "", "of a later release"), "synchronous_commit"),
        ] {
            assert!(told(Role::Ledger, server).is_some_and(|why| why.contains(word)), "{server:?}");
        }
    }

    #[test]
    fn a_job_table_is_on_a_primary_unless_a_standby_is_allowed() {
        let standby = (true, false, "", "off");
        for role in [Role::JobTable, Role::JobTableOrStandby] {
            assert_eq!(told(role, PRIMARY), None);
            assert_eq!(told(role, standby).is_some(), role == Role::JobTable);
        }
    }

    #[test]
    fn a_login_may_be_read_only_and_a_whole_server_may_not() {
        for (source, fine) in [
            ("user", true),
            ("database user", true),
            ("client", true),
            ("configuration file", false),
            ("command line", false),
            ("environment variable", false),
            ("database", false),
            ("global", false),
            ("", false),
        ] {
            for role in [Role::JobTable, Role::JobTableOrStandby] {
                assert_eq!(told(role, (false, true, source, "on")).is_none(), fine, "{source}");
            }
        }
        // What a standby inherited from its primary's configuration says nothing about the standby.
        assert_eq!(told(Role::JobTableOrStandby, (true, true, "configuration file", "on")), None);
    }
}
