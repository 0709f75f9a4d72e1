//! What only a database can do or suffer.

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio_postgres::NoTls;

use super::super::tests::{asked, assert_some_is_there, at, begin, case, first, first_of, id, nth, of, record_some};
use super::super::*;

/// Transactions at once: enough to meet, few enough to leave connections to the tests beside this one.
const AT_ONCE: usize = 12;

/// A database of the test's own, on the server of `DATABASE_URL`.
pub(super) struct TestDatabase {
    name: String,
    admin: tokio_postgres::Client,
    url: SecretString,
}

impl TestDatabase {
    pub(super) async fn new() -> Self {
        let server = std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run the tests with `make test`");
        let (admin, connection) = tokio_postgres::connect(&server, NoTls).await.unwrap();
        tokio::spawn(connection);
        let name = format!("t_{}", uuid::Uuid::new_v4().simple());
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let mut url: url::Url = server.parse().unwrap();
        url.set_path(&name);
        Self { name, admin, url: url.to_string().into() }
    }

    pub(super) async fn open(&self) -> Ledger {
        Ledger::open(&self.url, Metrics::new().unwrap()).await.unwrap()
    }

    pub(super) async fn run(&self, sql: &str) {
        let (client, connection) = tokio_postgres::connect(self.url.expose_secret(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
    }

    pub(super) async fn count(&self, sql: &str) -> i64 {
        let (client, connection) = tokio_postgres::connect(self.url.expose_secret(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Those of every ledger that is open on it.
    pub(super) async fn end_connections(&self) {
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '@' AND pid <> pg_backend_pid()";
        self.admin.batch_execute(&end.replace('@', &self.name)).await.unwrap();
    }

    pub(super) fn url(&self) -> &SecretString {
        &self.url
    }

    /// Ends the connections that are still open too.
    pub(super) async fn remove(self) {
        self.admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.unwrap();
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let database = TestDatabase::new().await;
    let ledger = database.open().await;
    record_some(&ledger).await;
    ledger.close().await;

    let ledger = database.open().await;
    assert_some_is_there(&ledger).await;
    database.remove().await;
}

#[tokio::test]
async fn many_workers_may_start_at_once() {
    let database = TestDatabase::new().await;
    let ledgers = join_all((0..8).map(|_| database.open())).await;
    for (number, ledger) in ledgers.iter().enumerate() {
        begin(ledger, asked(&format!("r{number}"), "a"), at(0)).await;
    }
    database.remove().await;
}

#[tokio::test]
async fn of_many_workers_that_compact_each_takes_what_the_others_do_not() {
    let database = TestDatabase::new().await;
    let ledgers = join_all((0..4).map(|_| database.open())).await;
    let decided = stream::iter(0..100).map(|number| {
        let (ledger, request) = (ledgers[number % 4].clone(), format!("r{number}"));
        async move {
            begin(&ledger, asked(&request, "a"), at(0)).await;
            ledger.at(at(1)).decide(&first(&request), &of("deleted"), |_| "event".into()).await.unwrap();
            ledger.heard(&id(&request)).await.unwrap();
        }
    });
    decided.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    let each = ledgers.iter().map(|ledger| async {
        let (mut requests, mut span) = (0, RetentionSpan { after: None, before: at(2), most: 7 });
        loop {
            let done = ledger.compact(span.clone()).await.unwrap();
            requests += done.requests;
            if done.last.is_none() {
                return requests;
            }
            span.after = done.last;
        }
    });
    let compacted = join_all(each).await;
    assert_eq!(compacted.iter().sum::<usize>(), 100, "{compacted:?}: none twice, none left");
    assert_eq!(ledgers[0].verify(None).await.unwrap().unwrap().problems, []);
    database.remove().await;
}

#[tokio::test]
async fn of_many_workers_that_decide_a_case_all_are_counted() {
    let database = TestDatabase::new().await;
    let ledgers = join_all((0..4).map(|_| database.open())).await;
    ledgers[0].case_size(&case("case"), 200).await.unwrap();
    let seen = stream::iter(0..200).map(|number| {
        let (ledger, request) = (ledgers[number % 4].clone(), format!("r{number}"));
        async move {
            begin(&ledger, asked(&request, "a"), at(0)).await;
            ledger.at(at(1)).decide(&first(&request), &of("deleted"), |_| "event".into()).await.unwrap();
            ledger.case(&case("case")).await.unwrap().unwrap().decided["deleted"]
        }
    });
    let seen: Vec<u32> = seen.buffer_unordered(AT_ONCE).collect().await;
    assert!(seen.contains(&200), "the last decision sees all of them: {seen:?}");
    assert_eq!(ledgers[1].verify_cases().await.unwrap(), []);
    database.remove().await;
}

#[tokio::test]
async fn of_many_workers_one_decides() {
    let database = TestDatabase::new().await;
    let ledgers = join_all((0..4).map(|_| database.open())).await;
    let ledgers: Vec<Ledger> = ledgers.iter().map(|ledger| ledger.at(at(0))).collect();
    let began = join_all(ledgers.iter().map(|ledger| ledger.begin(asked("r", "a"), Beside::NoSuspect))).await;
    let mut attempts: Vec<u32> = began
        .into_iter()
        .map(|begun| match begun.unwrap() {
            Begun::Open(record) => record.attempts,
            other => panic!("{other:?}"),
        })
        .collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2, 3, 4], "no attempt is lost, also when the row is not there yet");
    let decide = |(number, ledger): (usize, &Ledger)| {
        let ledger = ledger.clone();
        async move {
            ledger.at(at(1)).decide(&nth("r", 4), &of("deleted"), move |_| format!("event {number}")).await.unwrap()
        }
    };
    let decided = join_all(ledgers.iter().enumerate().map(decide)).await;
    assert!(decided.iter().all(|event| *event == decided[0]), "{decided:?}");
    database.remove().await;
}

#[tokio::test]
async fn a_database_of_a_later_release_is_left_alone() {
    let database = TestDatabase::new().await;
    database.open().await.close().await;
    database.run("UPDATE asset_eraser.schema_version SET version = 99").await;
    let error = Ledger::open(&database.url, Metrics::new().unwrap()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Newer { found: 99, known: 1, .. }), "{error}");
    database.remove().await;
}

#[tokio::test]
async fn commits_that_are_not_synced_are_refused() {
    let database = TestDatabase::new().await;
    for value in ["off", "local", "remote_write"] {
        database.run(&format!("ALTER DATABASE {} SET synchronous_commit = {value}", database.name)).await;
        let error = Ledger::open(&database.url, Metrics::new().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("synchronous_commit is {value}")), "{error}");
        assert!(error.contains("SET synchronous_commit = on"), "{error}");
    }
    database.run(&format!("ALTER DATABASE {} SET synchronous_commit = remote_apply", database.name)).await;
    database.open().await;
    database.remove().await;
}

#[tokio::test]
async fn an_unreadable_row_stops_its_own_request_only() {
    let database = TestDatabase::new().await;
    let ledger = database.open().await;
    begin(&ledger, asked("spoilt", "a"), at(0)).await;
    database.run("UPDATE asset_eraser.requests SET attempts = 5000000000").await;
    let error = ledger.at(at(1)).begin(asked("spoilt", "a"), Beside::NoSuspect).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unreadable { .. }) && !error.is_unavailable(), "{error}");
    // Nor one that the database does not take.
    let hostile = Asked { request: "\0".to_owned(), ..asked("hostile", "a") };
    let error = ledger.at(at(1)).begin(hostile, Beside::NoSuspect).await.unwrap_err();
    assert!(error.to_string().contains("hostile") && !error.is_unavailable(), "{error}");
    begin(&ledger, asked("good", "a"), at(2)).await;
    database.remove().await;
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    let database = TestDatabase::new().await;
    let ledger = database.open().await;
    begin(&ledger, asked("r", "a"), at(0)).await;
    // Waits until they have ended.
    let end =
        format!("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{}'", database.name);
    database.admin.batch_execute(&end).await.unwrap();
    ledger.probe().await.unwrap();
    ledger.at(at(2)).put_off(&first("r"), 1, "provider").await.unwrap();
    database.remove().await;
}

#[tokio::test]
async fn errors_name_the_place_and_no_password() {
    let closed = "postgres://me:secret-word@127.0.0.1:1/eraser".into();
    let error = Ledger::open(&closed, Metrics::new().unwrap()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("postgres://127.0.0.1:1/eraser") && !text.contains("secret-word"), "{text}");
    let error = Ledger::open(&"postgres://me:secret-word@".into(), Metrics::new().unwrap()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret-word"), "{error}");
}

#[tokio::test]
async fn what_is_verified_while_others_write_is_one_moment() {
    let database = TestDatabase::new().await;
    let (ledger, other) = (database.open().await, database.open().await);
    for number in 0..50 {
        begin(&ledger, asked(&format!("r{number}"), "a"), at(0)).await;
    }
    let writing = tokio::spawn(async move {
        for second in 1..20 {
            join_all((0..50).map(|number| {
                let (other, id) = (other.clone(), id(&format!("r{number}")));
                async move { other.at(at(second)).deleting(&first_of(&id), None, false).await.unwrap() }
            }))
            .await;
        }
    });
    let mut checks = 0;
    while !writing.is_finished() {
        let verified = ledger.verify(None).await.unwrap().unwrap();
        assert_eq!(verified.problems, [], "nothing was tampered with");
        checks += 1;
    }
    writing.await.unwrap();
    assert!(checks > 3, "only {checks} checks came in between");
    database.remove().await;
}
