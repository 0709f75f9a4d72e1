//! What retention costs: a ledger of a million decided requests becomes tombstones, in a file and in a database, while
//! other requests are recorded. Prints how long it takes, what becomes of the size once vacuumed, and how much slower those other
//! requests are meanwhile, five hundred a second, compared side by side: three seconds with retention, one without.
//!
//! ```text
//! make bench-retention                 # a private PostgreSQL is started for it
//! make bench-retention ROWS=100000     # a smaller ledger
//! ```

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use asset_eraser::contract::message::event::{AssetSeen, Facts, LastWord, Subject};
use asset_eraser::contract::message::request::Labels;
use asset_eraser::contract::message::{AssetId, CaseId, Outcome, Proof, RequestId, ResultEvent};
use asset_eraser::neighbours::ledger::{Asked, Begun, Beside, Ledger, retention};
use asset_eraser::platform::telemetry::metrics::Metrics;
use futures_util::{StreamExt, future::join_all, stream};
use jiff::Timestamp;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Old requests, unless `ROWS` says otherwise.
const ROWS: u32 = 1_000_000;
/// Requests of one case.
const CASE: u32 = 1_000;
/// Requests recorded at once while retention works, as many as a worker's default, and how often each of them begins.
const AT_ONCE: usize = 16;
const EVERY: Duration = Duration::from_millis(32);
/// How long one side is looked at before the other has its turn, with retention and without.
const TURNS: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(1)];

#[tokio::main]
async fn main() -> Result<()> {
    let rows = std::env::var("ROWS").map_or(Ok(ROWS), |rows| rows.parse())?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ledger.db");
    let url = format!("sqlite://{}", file.display());
    println!("making {rows} decided requests");
    let ledger = Ledger::open(&url.into(), Metrics::new()?).await?;
    fill(&ledger, rows).await?;
    let database = Database::new().await?;
    let shared = Ledger::open(&database.url.clone().into(), Metrics::new()?).await?;
    database.copy_from(&file).await?;

    let beside = rusqlite::Connection::open(&file)?;
    let size = async || {
        beside.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(std::fs::metadata(&file)?.len())
    };
    measure("SQLite", ledger, rows, size).await?;
    let size = async || {
        for table in ["requests", "history"] {
            database.client.batch_execute(&format!("VACUUM FULL asset_eraser.{table}")).await?;
        }
        let sum = "SELECT (pg_total_relation_size('asset_eraser.requests')
                           + pg_total_relation_size('asset_eraser.history'))::bigint";
        Ok(u64::try_from(database.client.query_one(sum, &[]).await?.get::<_, i64>(0))?)
    };
    measure("PostgreSQL", shared, rows, size).await?;
    database.remove().await
}

async fn measure(name: &str, ledger: Ledger, rows: u32, size: impl AsyncFn() -> Result<u64>) -> Result<()> {
    let (before, checked) = (size().await?, verify(&ledger).await?);
    let (began, mut with, mut without) = (Instant::now(), Vec::new(), Vec::new());
    let mut working = Duration::ZERO;
    let mut next = 0;
    let old = Timestamp::now();
    while left(&ledger, old).await? {
        let end = CancellationToken::new();
        let (beside, ended) = (ledger.clone(), end.clone());
        let compacting = tokio::spawn(async move {
            tokio::select! { () = ended.cancelled() => Ok(()), done = retention::compact_before(&beside, old) => done }
        });
        let turn = Instant::now();
        with.extend(record(&ledger, TURNS[0], &mut next).await?);
        end.cancel();
        compacting.await??;
        working += turn.elapsed();
        without.extend(record(&ledger, TURNS[1], &mut next).await?);
    }
    println!("\n{name}: {rows} requests became tombstones in {:.0} s of retention's time", working.as_secs_f64());
    println!("  ({:.0} s in all, with pauses to compare)", began.elapsed().as_secs_f64());
    // Those recorded meanwhile take as much each as the old ones did before.
    let new = (with.len() + without.len()) as u64 * before / u64::from(rows);
    let after = size().await?.saturating_sub(new);
    println!(
        "  vacuumed {:5.0} MiB before, {:5.0} MiB after (new requests left out)",
        mebibytes(before),
        mebibytes(after)
    );
    println!("  verify   {checked:5.1} s before,   {:5.1} s after", verify(&ledger).await?);
    println!("  another request recorded meanwhile, from begun to decided (milliseconds):");
    println!("              requests    median      99 %   longest");
    let (with, without) = (Latencies::of(with), Latencies::of(without));
    for (what, one) in [("with", &with), ("without", &without)] {
        println!("    {what:7} {:10} {:9.2} {:9.2} {:9.2}", one.count, one.median, one.most, one.longest);
    }
    let (median, most) = (with.median / without.median, with.most / without.most);
    println!("    ratio              {median:9.2} {most:9.2}");
    ledger.close().await;
    Ok(())
}

/// Whether there is anything old that is no tombstone yet; the first such request becomes one.
async fn left(ledger: &Ledger, before: Timestamp) -> Result<bool> {
    let done = ledger.compact(retention::RetentionSpan { after: None, before, most: 1 }).await?;
    assert!(done.kept.is_empty(), "evidence is not as it was written: {done:?}");
    Ok(done.last.is_some())
}

/// Records requests for one turn; how long each took.
async fn record(ledger: &Ledger, turn: Duration, next: &mut u32) -> Result<Vec<Duration>> {
    let over = Arc::new(AtomicBool::new(false));
    let base = *next;
    *next += 1;
    let recorders = (0..AT_ONCE).map(|one| {
        let (ledger, over) = (ledger.clone(), Arc::clone(&over));
        tokio::spawn(async move {
            let mut took = Vec::new();
            let mut number = 0;
            let mut turn = tokio::time::interval(EVERY);
            while !over.load(Ordering::Relaxed) {
                turn.tick().await;
                let began = Instant::now();
                one_request(&ledger, &format!("new-{base}-{one}-{number}"), None).await;
                took.push(began.elapsed());
                number += 1;
            }
            took
        })
    });
    let recorders: Vec<_> = recorders.collect();
    tokio::time::sleep(turn).await;
    over.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for took in join_all(recorders).await {
        all.extend(took?);
    }
    Ok(all)
}

async fn fill(ledger: &Ledger, rows: u32) -> Result<()> {
    let requests = stream::iter(0..rows).for_each_concurrent(1000, |number| async move {
        one_request(ledger, &format!("request-{number}"), Some(number / CASE)).await;
    });
    requests.await;
    Ok(())
}

/// From begun to decided, with all that a request leaves behind.
async fn one_request(ledger: &Ledger, name: &str, case: Option<u32>) {
    let request_id = RequestId::parse(name).expect("a request ID");
    let asset_id = AssetId::parse(&format!("asset-20260330142158-{name}")).expect("an asset ID");
    let case_id = case.map(|case| CaseId::parse(&format!("case-{case}")).expect("a case ID"));
    let labels = Labels { requested_by: Some("privacy-desk".into()), case_id: case_id.clone(), ..Labels::default() };
    let request = serde_json::json!({
        "request_id": name, "asset_id": asset_id.as_str(), "requested_by": "privacy-desk", "reason": null,
        "case_id": case_id, "case_size": null, "on_in_use": "wait", "deadline": null, "expect": null, "dry_run": false,
    });
    let asked = Asked {
        request_id: request_id.clone(),
        asset_id: asset_id.clone(),
        case_id,
        dry_run: false,
        backup: None,
        request: request.to_string(),
    };
    let asset = AssetSeen {
        name: Some("Cat Image".into()),
        asset_type: Some("Image".into()),
        created: Some("2026-03-30 14:21:58".into()),
    };
    let provider = LastWord { status: Some(200), rule: None, code: Some("0".into()), msg: Some("success".into()) };
    let facts = Facts {
        asset: Some(asset),
        attempts: 1,
        received_at: Some(Timestamp::now()),
        provider: Some(provider),
        backup: None,
        delete_sent: true,
        url_serves: None,
    };
    let Begun::Open(record) = ledger.begin(asked, Beside::NoSuspect).await.expect("begun") else {
        panic!("{name} is new")
    };
    ledger.deleting(&record.attempt, None, true).await.expect("deleting");
    let (id, request) = (ledger.id(), request_id.clone());
    let event = move |now| {
        let subject = Subject { request_id: &request, asset_id: Some(&asset_id), labels: &labels };
        ResultEvent::new(id, subject, &Outcome::Deleted(Proof::Erased), facts, now).body
    };
    ledger.decide(&record.attempt, &Outcome::Deleted(Proof::Erased), event).await.expect("decided");
    ledger.heard(&request_id).await.expect("heard");
}

/// Seconds for all of it.
async fn verify(ledger: &Ledger) -> Result<f64> {
    let (began, mut last) = (Instant::now(), None);
    while let Some(page) = ledger.verify(last.as_ref()).await? {
        assert!(page.problems.is_empty(), "{:?}", page.problems);
        last = Some(page.last);
    }
    assert!(ledger.verify_cases().await?.is_empty());
    Ok(began.elapsed().as_secs_f64())
}

#[allow(clippy::cast_precision_loss)] // for display
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

struct Latencies {
    count: usize,
    median: f64,
    most: f64,
    longest: f64,
}

impl Latencies {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort();
        let at = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1000.0;
        Self { count: took.len(), median: at(50), most: at(99), longest: at(100) }
    }
}

/// A database of the bench's own, on the server of `DATABASE_URL`.
struct Database {
    name: String,
    url: String,
    admin: Client,
    client: Client,
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

impl Database {
    async fn new() -> Result<Self> {
        let server =
            std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set: run `make bench-retention`")?;
        let admin = connect(&server).await?;
        let name = format!("bench_{}", uuid::Uuid::new_v4().simple());
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let mut url: url::Url = server.parse()?;
        url.set_path(&name);
        let client = connect(url.as_str()).await?;
        Ok(Self { name, url: url.into(), admin, client })
    }

    /// Recording a million requests one after the other takes long; what they leave behind is the same in both.
    async fn copy_from(&self, file: &Path) -> Result<()> {
        let file = rusqlite::Connection::open(file)?;
        let tables = [
            (
                "requests",
                "request_id, asset_id, case_id, dry_run, request, state, attempts, interrupted, contended, rung, \
                 deletes, missed, outcome, event, heard, first_seen, updated, entries, chain",
            ),
            ("history", "request_id, number, at, state, attempts, why, digest, hash"),
            ("case_counts", "case_id, outcome, 0, requests"),
        ];
        for (table, columns) in tables {
            let target = columns.replace(", 0,", ", shard,");
            let copy = format!("COPY asset_eraser.{table} ({target}) FROM STDIN");
            let mut sink = Box::pin(self.client.copy_in::<_, bytes::Bytes>(&copy).await?);
            let mut statement = file.prepare(&format!("SELECT {columns} FROM {table}"))?;
            let count = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let line: Vec<String> = (0..count).map(|column| text(row, column)).collect::<Result<_>>()?;
                futures_util::SinkExt::send(&mut sink, format!("{}\n", line.join("\t")).into()).await?;
            }
            sink.as_mut().finish().await?;
        }
        self.client.batch_execute("ANALYZE").await?;
        Ok(())
    }

    async fn remove(self) -> Result<()> {
        drop(self.client);
        self.admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?;
        Ok(())
    }
}

/// As `COPY` reads it.
fn text(row: &rusqlite::Row<'_>, column: usize) -> Result<String> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(column)? {
        ValueRef::Null => "\\N".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Text(text) => std::str::from_utf8(text)?.replace('\\', "\\\\"),
        other => return Err(format!("a column holds {other:?}").into()),
    })
}
