//! Against the server of `DATABASE_URL`: what the pool does with a connection.

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

fn url() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run the tests with `make test`")
}

/// A pool of the role for the server, behind more hosts where `hosts` has them.
fn pool(role: Role, hosts: &str, settings: &[(&str, String)]) -> Database {
    let url = url().replace("@127.0.0.1:", &format!("@{hosts}127.0.0.1:"));
    Database::new(&url, role, settings, LIMIT).unwrap()
}

fn size(database: &Database) -> usize {
    database.pool.status().size
}

async fn backend(connection: &PooledConnection) -> i32 {
    connection.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_connection_that_works_is_used_again() {
    let database = pool(Role::Ledger, "", &[]);
    let first = backend(&database.get().await.unwrap()).await;
    assert_eq!(backend(&database.get().await.unwrap()).await, first);
}

#[tokio::test]
async fn a_server_that_says_that_it_takes_no_writes_is_not_used_and_the_connections_to_it_are_closed() {
    let database = pool(Role::Ledger, "", &[]);
    let (one, two) = (database.get().await.unwrap(), database.get().await.unwrap());
    let before = [backend(&one).await, backend(&two).await];
    one.batch_execute("SET default_transaction_read_only = on").await.unwrap();
    drop((one, two));
    assert!(!before.contains(&backend(&database.get().await.unwrap()).await));
    assert_eq!(size(&database), 1);
    let fenced = pool(Role::Ledger, "", &[("default_transaction_read_only", "on".to_owned())]);
    let (what, advice) = fenced.get().await.err().unwrap().told();
    assert!(what.contains("default_transaction_read_only is on") && advice.contains("primary"), "{what}; {advice}");
}

#[tokio::test]
async fn a_refused_write_takes_its_connection_out_of_the_pool() {
    let database = pool(Role::Ledger, "", &[]);
    for (statement, left) in [("SELECT 1 / 0", 1), ("CREATE TABLE never_made ()", 0)] {
        let connection = database.get().await.unwrap();
        let refused = connection.batch_execute(&format!("START TRANSACTION READ ONLY; {statement}")).await.unwrap_err();
        connection.batch_execute("ROLLBACK").await.unwrap();
        Database::give_back(connection, Some(&refused.into()));
        assert_eq!(size(&database), left, "{statement}");
    }
}

#[tokio::test]
async fn a_host_that_is_dead_or_silent_leaves_time_for_the_next_and_is_not_tried_first_again() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hosts = format!("127.0.0.1:1,127.0.0.1:{},", silent.local_addr().unwrap().port());
    let database = pool(Role::Ledger, &hosts, &[]);
    let first = database.get().await.unwrap();
    let began = std::time::Instant::now();
    let second = database.get().await.unwrap();
    assert!(began.elapsed() < LIMIT / 10, "{:?}", began.elapsed());
    drop((first, second));
    let nowhere = Database::new(&format!("postgres://me@{hosts}127.0.0.1:2/db"), Role::Ledger, &[], LIMIT).unwrap();
    let what = nowhere.get().await.err().unwrap().told().0;
    assert!(what.contains("127.0.0.1:1: ") && what.contains("127.0.0.1:2: ") && what.contains("no answer"), "{what}");
}

#[tokio::test]
async fn a_job_table_is_read_in_one_transaction_after_the_other_and_never_written() {
    let database = pool(Role::JobTable, "", &[]);
    for _ in 0..3 {
        let connection = database.read_only().await.unwrap();
        let now: bool = connection.query_one("SELECT statement_timestamp() - now() < '1 s'", &[]).await.unwrap().get(0);
        assert!(now, "the transaction is a new one");
        assert!(connection.batch_execute("CREATE TABLE never_made ()").await.is_err());
        drop(connection);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert_eq!(size(&database), 1);
}
