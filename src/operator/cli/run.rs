//! `asset-eraser run`: the parts put together, until a signal.

use std::convert::Infallible;
use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::background::Background;
use crate::engine::eraser::Eraser;
use crate::engine::worker::{self, Worker};
use crate::neighbours::backup::Backups;
use crate::neighbours::broker::{BrokerState, policies};
use crate::neighbours::guard::Guard;
use crate::neighbours::ledger::{Ledger, retention};
use crate::neighbours::pace::gate::Gate;
use crate::neighbours::pace::intake::Intake;
use crate::neighbours::provider::Client;
use crate::operator::http::{self, Listeners, console::Console};
use crate::platform::panics;
use crate::platform::telemetry::{logging, metrics::Metrics, traces};
use crate::settings::Settings;

/// Runs the worker.
///
/// # Errors
/// What kept it from starting. Later troubles are waited out.
pub async fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    logging::init(&settings.log)?;
    panics::log();
    let metrics = Metrics::new()?;
    let line = Intake::new(metrics.clone());
    let gate = Gate::new(settings.worker.concurrency, settings.provider.max_rate, metrics.clone());
    let provider = Client::new(&settings.provider, gate.clone(), metrics.clone())?;
    let guard = Guard::new(&settings.guard, provider.clone(), metrics.clone())?;
    let ledger = Ledger::open(&settings.ledger.url, metrics.clone()).await?;
    let backups = Backups::new(settings.backup.clone())?;
    let eraser = Eraser::new(settings.clone(), provider, guard, ledger.clone(), backups, line.clone(), metrics.clone());
    if settings.worker.dry_run {
        tracing::warn!("worker.dry_run is true: nothing is deleted, and every request is answered as a dry run");
    }
    eraser.ledger_at_start().await;
    eraser.brake_at_start().await?;
    let listeners = listen(&settings).await?;

    let (state, broker) = watch::channel(BrokerState::Connecting);
    // Two tokens: /readyz and /metrics stay up while the worker drains.
    let (shutdown, drained) = (CancellationToken::new(), CancellationToken::new());
    let mut beside = Background::new(shutdown.clone(), metrics.clone());
    beside.run("the task that waits for signals", well(stop_on_signal(shutdown.clone())?));
    let probes = worker::probe_when_stopped(eraser.clone(), line.clone(), shutdown.clone());
    beside.run("the task that probes what is down", well(probes));
    let (watcher, ended) = (eraser.clone(), shutdown.clone());
    beside.run("the task that watches the ledger", well(async move { watcher.watch_ledger(ended).await }));
    let policies = policies::watch(settings.broker.clone(), metrics.clone(), shutdown.clone());
    beside.run("the task that tries what policies do", well(policies));
    if let Some(keep) = settings.ledger.compact_after {
        let compacting = retention::keep_compacting(ledger.clone(), keep, shutdown.clone());
        beside.run("the task that compacts the ledger", well(compacting));
    }
    let token = settings.http.token.clone();
    let dry_run = settings.worker.dry_run;
    let console = Console::new(&settings, gate.clone(), ledger.id());
    let (metrics_shown, line_shown, ledger_shown) = (metrics.clone(), line.clone(), ledger.clone());
    let shown = http::HttpState {
        metrics: metrics_shown,
        line: line_shown,
        broker,
        ledger: ledger_shown,
        token,
        dry_run,
        console,
    };
    beside.run("the HTTP server", well(http::serve(listeners, shown, drained.clone())));
    if let Some(tracing) = &settings.tracing {
        // Until the worker is done: what it does last is sent as well.
        beside.run("the task that sends traces", well(traces::start(tracing)?.run(drained.clone())));
    }
    let worker = Worker::new(settings, eraser, gate, line, metrics, state);
    let done = beside.watch(Box::pin(worker.run(shutdown.clone()))).await;
    shutdown.cancel();
    drained.cancel();
    let ended = beside.all_ended().await;
    ledger.close().await;
    done?;
    ended?;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(settings: &Settings) -> Result<Listeners, Box<dyn Error>> {
    let console = settings.console.as_ref().and_then(|console| console.listen);
    let console = match console {
        Some(address) => Some(bound("console.listen", "console", address).await?),
        None => None,
    };
    // Last: who reads its line knows that all are open.
    Ok(Listeners { console, http: bound("http.listen", "listening", settings.http.listen).await? })
}

async fn bound(key: &str, what: &str, wanted: SocketAddr) -> Result<TcpListener, Box<dyn Error>> {
    let listener =
        TcpListener::bind(wanted).await.map_err(|error| format!("{key}: cannot listen on {wanted}: {error}"))?;
    let address = listener.local_addr()?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "{what}");
    // For scripts that let the system choose the port. That no one reads it is no error.
    let _ = writeln!(std::io::stdout(), "{what} on http://{address}");
    Ok(listener)
}

/// For work that cannot fail.
async fn well(work: impl Future<Output = ()>) -> Result<(), Infallible> {
    work.await;
    Ok(())
}

/// Cancels the token on SIGTERM or SIGINT, or ends when another task did.
fn stop_on_signal(shutdown: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {}, () = shutdown.cancelled() => {} }
        tracing::info!("shutting down");
        shutdown.cancel();
    })
}
