//! A stand-in for the provider and for a job registry, with faults on demand.
//!
//! Tests, the demo and compose run against it as a black box: it shares no code with the library, so a mistake in the
//! library's idea of the provider cannot hide here. What it answers follows the provider's documented API; where that
//! is silent, this program makes a choice and tests use faults to try the others.
//!
//! | Part | Where |
//! | --- | --- |
//! | provider | `{address}/kyyReactApiServer/…`, needs `Authorization: Bearer {--token}` |
//! | files | `GET /files/{asset_id}`, without a key: the bytes of an asset, which its detail call points at |
//! | job registry | `GET /jobs/{asset_id}`, needs `--jobs-token` when one is given |
//! | control | `/control/…`: assets, jobs, faults, latency, capacity, the log of calls; see `sandbox/control.rs` |
//!
//! The first line on standard output is `listening on http://ADDRESS`. SIGTERM or SIGINT stops it with exit code 0.
//!
//! ```text
//! cargo run --example sandbox -- --listen 127.0.0.1:8088
//! curl -X PUT localhost:8088/control/assets/asset-1 -d '{"name":"Cat","assetType":"Image"}'
//! curl -X POST localhost:8088/control/faults -d '{"operation":"delete","times":1,"do":{"cut":"after"}}'
//! curl -X DELETE -H 'Authorization: Bearer sandbox-token' localhost:8088/kyyReactApiServer/kyyVideo2/asset/asset-1
//! curl 'localhost:8088/control/calls?asset=asset-1'
//! ```

use std::{io::Write as _, net::SocketAddr, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

#[path = "sandbox/answer.rs"]
mod answer;
#[path = "sandbox/call.rs"]
mod call;
#[path = "sandbox/capacity.rs"]
mod capacity;
#[path = "sandbox/control.rs"]
mod control;
#[path = "sandbox/fault.rs"]
mod fault;
#[path = "sandbox/file.rs"]
mod file;
#[path = "sandbox/provider.rs"]
mod provider;
#[path = "sandbox/raw.rs"]
mod raw;
#[path = "sandbox/server.rs"]
mod server;
#[path = "sandbox/world.rs"]
mod world;

/// Room for a `POST /control/assets` of some hundred thousand IDs.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// A stand-in for the provider and a job registry, with faults on demand
#[derive(Parser)]
struct Args {
    /// Address to listen on; port 0 picks a free one, which the first line of output names
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Key that provider calls must carry as `Authorization: Bearer KEY`; anything else is answered 401
    #[arg(long, default_value = "sandbox-token")]
    token: String,
    /// Key that `GET /jobs/{asset_id}` must carry; without it the registry is open
    #[arg(long)]
    jobs_token: Option<String>,
    /// Keep no log of calls, as after `PUT /control/log {"keep":false}`: for measurements
    #[arg(long)]
    no_log: bool,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    // Installed before the address is announced: a reader of the line may stop us right away.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = tokio::net::TcpListener::bind(args.listen).await?;

    let sandbox = Arc::new(call::Sandbox::new(&args.token, args.jobs_token.as_deref()));
    sandbox.world().log_off = args.no_log;
    let router = Router::new()
        .merge(provider::routes())
        .nest("/control", control::routes())
        .fallback(provider::no_handler)
        .method_not_allowed_fallback(provider::no_handler)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(sandbox);

    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;

    server::run(listener, router, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await;
    Ok(())
}
